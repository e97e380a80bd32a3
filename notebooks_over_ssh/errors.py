"""What can go wrong, as the user meets it: one sentence, one hint, one exit code."""

from typing import ClassVar


class Terminated(KeyboardInterrupt):
    """SIGTERM: the task ends as it does at Ctrl-C, but no person at its terminal asked for that."""


class UserError(Exception):
    """A failure that the user can understand.

    `hint` is the one thing to do about it, in words of ours alone; `detail` are lines that show more (the end of a log, say), and
    `source` is whose words those are. Nothing in them is secret.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self, message: str, *, hint: str = "", detail: tuple[str, ...] = (), source: str = ""
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.detail = detail
        self.source = source


class TaskError(UserError):
    """The step could not be done, and none of the reasons below is the cause."""

    exit_code = 1


def unanswered() -> TaskError:
    """The UserError of a question at which the input ended, as Ctrl-D ends it."""
    return TaskError("the question was not answered", hint="run it again, and answer it")


class ConfigError(UserError):
    """A setting or an argument that is unknown, of the wrong type or out of range."""

    exit_code = 2


class ConnectError(UserError):
    """A host or its gateway did not answer, or would not forward."""

    exit_code = 3


class AuthenticationError(UserError):
    """A host wanted a proof of identity that could not be given."""

    exit_code = 4


class HostKeyError(UserError):
    """A host showed a key that is unknown, revoked or not the one on record."""

    exit_code = 5


class RemoteError(UserError):
    """The Jupyter server, or the environment that it needs, failed on the host."""

    exit_code = 6
