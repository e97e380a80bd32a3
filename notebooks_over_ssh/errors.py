"""The errors that the user sees: a message, a hint and an exit code each."""

from typing import ClassVar


class Terminated(KeyboardInterrupt):
    """SIGTERM: the task ends as after Ctrl-C, but not at the user's request."""


class UserError(Exception):
    """An error whose message is for the user.

    `hint` is the one thing to do about it, and contains no text from a peer. `detail` has further lines, such as the
    end of a log, and `source` names the host or program that wrote them. None of these contains a secret.
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
    """The task failed for a reason other than those below."""

    exit_code = 1


def unanswered() -> TaskError:
    """The error for end of input (Ctrl-D) at a prompt."""
    return TaskError("no answer at the prompt", hint="run it again and answer the prompt")


class ConfigError(UserError):
    """A setting or an argument that is unknown, of the wrong type or out of range."""

    exit_code = 2


class ConnectError(UserError):
    """A host or its gateway did not answer, or refused to forward."""

    exit_code = 3


class AuthenticationError(UserError):
    """A host refused the login."""

    exit_code = 4


class HostKeyError(UserError):
    """A host presented a key that is unknown, revoked or different from the expected one."""

    exit_code = 5


class RemoteError(UserError):
    """The Jupyter server, or the environment that it needs, failed on the host."""

    exit_code = 6
