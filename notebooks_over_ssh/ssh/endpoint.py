"""One name under which a hop may be reached."""

from dataclasses import dataclass

from notebooks_over_ssh.ssh.host_keys import HostKeyPolicy
from notebooks_over_ssh.ssh.protocol.command_channel import HopCommand


@dataclass(frozen=True)
class Endpoint:
    """One name under which a hop may be reached, and the host keys that are valid there."""

    host: str
    label: str
    """The name for messages."""
    policy: HostKeyPolicy
    command: str = ""
    """The ProxyCommand, tokens expanded; "" to connect through the gateway, or directly."""
    gateway_command: HopCommand | None = None
    """The command on the gateway that leads to the hop; None for a port that the gateway reaches."""
