"""Where a forwarder has to go; apart from the rest, so that knowing it costs a forwarder no memory."""

from typing import NamedTuple

LOOPBACK = "127.0.0.1"


class Endpoint(NamedTuple):
    """The two hops as they are reached over one line, and how to log in to both."""

    gateway_port: int
    host_port: int
    """As the gateway reaches it."""
    target_port: int
    """As the host reaches it."""
    direct_port: int
    """The target over the same line as the gateway, with no SSH."""
    user: str
    key: str
    known_hosts: str
    ssh_config: str
    """An ssh_config(5) that knows both hops as `gateway` and `host`."""
