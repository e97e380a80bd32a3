"""The endpoint of a forwarder. Separate and small, because the memory of a forwarder that imports it is measured."""

from typing import NamedTuple

LOOPBACK = "127.0.0.1"


class Endpoint(NamedTuple):
    """Ports of the gateway, the host and the load server, and the credentials for both hops."""

    gateway_port: int
    host_port: int
    """As seen from the gateway."""
    target_port: int
    """The load server, as seen from the host."""
    direct_port: int
    """The load server without SSH, with the same latency as the gateway."""
    user: str
    key: str
    known_hosts: str
    ssh_config: str
    """An ssh_config(5) file with both hops, as `gateway` and `host`."""
