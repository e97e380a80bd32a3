"""What becomes of a tunnel while it is held, for the user to read."""

from collections.abc import Callable
from dataclasses import dataclass

from notebooks_over_ssh.util.command_hint import command


@dataclass(frozen=True)
class Lost:
    """The way was lost, and is looked for."""

    what: str

    def __str__(self) -> str:
        return f"{self.what}; reconnecting, the address stays"


@dataclass(frozen=True)
class WaitsForYou:
    """Only a person can put it right."""

    why: str

    def __str__(self) -> str:
        return f"waits for you: {self.why}"


@dataclass(frozen=True)
class Back:
    """The way is there again."""

    gone_s: float

    def __str__(self) -> str:
        return f"reconnected after {self.gone_s:.1f} s"


@dataclass(frozen=True)
class Answers:
    """The connection that was silent answers again; nothing was lost."""

    gone_s: float

    def __str__(self) -> str:
        return f"the connection answers again after {self.gone_s:.1f} s, and nothing was reset"


@dataclass(frozen=True)
class ServerEnded:
    """The server has ended, and the tunnel leads nowhere until there is another."""

    why: str

    def __str__(self) -> str:
        return (
            f"{self.why}; new connections wait, {command('serve')} starts a server and the tunnel leads to it"
        )


@dataclass(frozen=True)
class ServerAgain:
    """The session has another server, and the tunnel leads to it."""

    where: str

    def __str__(self) -> str:
        return f"leads to the new server at {self.where}"


News = Lost | WaitsForYou | Back | Answers | ServerEnded | ServerAgain
Tell = Callable[[News], None]
