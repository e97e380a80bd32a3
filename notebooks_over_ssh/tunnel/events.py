"""The events of an open tunnel, which its supervisor yields; `str` gives the line for the user."""

from dataclasses import dataclass

from notebooks_over_ssh.util.command_hint import command
from notebooks_over_ssh.util.duration import describe_duration


@dataclass(frozen=True)
class Disconnected:
    """The connection was lost or does not answer; the supervisor reconnects."""

    reason: str

    def __str__(self) -> str:
        return f"{self.reason}; reconnecting, the address stays"


@dataclass(frozen=True)
class LoginRequired:
    """The supervisor cannot log in without the user."""

    reason: str

    def __str__(self) -> str:
        return f"waits for you: {self.reason}"


@dataclass(frozen=True)
class Reconnected:
    """The tunnel uses a new connection."""

    outage_s: float

    def __str__(self) -> str:
        return f"reconnected after {self.outage_s:.1f} s"


@dataclass(frozen=True)
class Resumed:
    """The old connection answers again; no forwarded connection was reset."""

    outage_s: float

    def __str__(self) -> str:
        return f"the connection answers again after {self.outage_s:.1f} s, and nothing was reset"


@dataclass(frozen=True)
class ServerEnded:
    """The server has ended; new connections are queued until another one starts."""

    reason: str

    def __str__(self) -> str:
        return f"{self.reason}; new connections wait until {command('serve')} has started a server"


@dataclass(frozen=True)
class JobEnded:
    """The job of the server has ended, or is queued again; the supervisor waits for the next server."""

    reason: str

    def __str__(self) -> str:
        return f"{self.reason}; its kernels are gone, the address stays"


@dataclass(frozen=True)
class ServerAwaited:
    """The next server of the session has not started yet."""

    activity: str
    is_news: bool = True
    """Whether more than the time waited has changed since the event before."""

    def __str__(self) -> str:
        return self.activity


@dataclass(frozen=True)
class ServerReplaced:
    """The session has another server, and the tunnel forwards to it."""

    address: str

    def __str__(self) -> str:
        return f"forwards to the new server at {self.address}, where kernels are new"


@dataclass(frozen=True)
class TimeLimitNear:
    """The job of the server reaches its time limit soon."""

    seconds_left: float

    def __str__(self) -> str:
        left = describe_duration(self.seconds_left)
        return f"the job's time limit is in {left}: save your work, as the server and its kernels end a minute before"


TunnelEvent = (
    Disconnected
    | JobEnded
    | LoginRequired
    | Reconnected
    | Resumed
    | ServerAwaited
    | ServerEnded
    | ServerReplaced
    | TimeLimitNear
)
