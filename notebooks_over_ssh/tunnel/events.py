"""What becomes of a tunnel while it is held, for the user to read."""

from collections.abc import Callable
from dataclasses import dataclass

from notebooks_over_ssh.util.command_hint import command


@dataclass(frozen=True)
class Disconnected:
    """The way was lost, and is looked for."""

    reason: str

    def __str__(self) -> str:
        return f"{self.reason}; reconnecting, the address stays"


@dataclass(frozen=True)
class LoginRequired:
    """Only a person can put it right."""

    reason: str

    def __str__(self) -> str:
        return f"waits for you: {self.reason}"


@dataclass(frozen=True)
class Reconnected:
    """The way is there again."""

    outage_s: float

    def __str__(self) -> str:
        return f"reconnected after {self.outage_s:.1f} s"


@dataclass(frozen=True)
class Resumed:
    """The connection that was silent answers again; nothing was lost."""

    outage_s: float

    def __str__(self) -> str:
        return f"the connection answers again after {self.outage_s:.1f} s, and nothing was reset"


@dataclass(frozen=True)
class ServerEnded:
    """The server has ended, and the tunnel leads nowhere until there is another."""

    reason: str

    def __str__(self) -> str:
        return f"{self.reason}; new connections wait, {command('serve')} starts a server and the tunnel leads to it"


@dataclass(frozen=True)
class ServerReplaced:
    """The session has another server, and the tunnel leads to it."""

    address: str

    def __str__(self) -> str:
        return f"leads to the new server at {self.address}"


TunnelEvent = Disconnected | LoginRequired | Reconnected | Resumed | ServerEnded | ServerReplaced
EventHandler = Callable[[TunnelEvent], None]
