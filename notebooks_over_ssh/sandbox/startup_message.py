"""The message with which the daemon reports its start, once, through a pipe."""

import errno
import os

import msgspec

from notebooks_over_ssh.errors import UserError
from notebooks_over_ssh.sandbox.paths import SandboxPaths
from notebooks_over_ssh.sandbox.state import Network


class StartupMessage(msgspec.Struct, frozen=True):
    """The running sandbox, or the error that prevented its start."""

    network: Network | None = None
    error: str = ""
    hint: str = ""


def report_for(error: BaseException, paths: SandboxPaths) -> StartupMessage:
    """An exception as a message for the user; empty for an internal error, which the log has in full."""
    if isinstance(error, UserError):
        return StartupMessage(error=str(error), hint=error.hint)
    if isinstance(error, OSError):
        return StartupMessage(error=describe_os_error(error, paths), hint=hint_for(error))
    return StartupMessage()


def describe_os_error(error: OSError, paths: SandboxPaths) -> str:
    """The sentence for a folder that cannot be written."""
    reason = error.strerror or type(error).__name__
    return f"the sandbox could not be created in {paths.folder}: {reason}"


def hint_for(error: OSError) -> str:
    """The hint for a folder that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free space on that disk, or set XDG_DATA_HOME to a folder on another one"
    return "set XDG_DATA_HOME to a folder that you can write to"


def send_message(message: StartupMessage, descriptor: int) -> None:
    """Write the message and close the descriptor. It is not an error if the reader has gone."""
    try:
        os.write(descriptor, msgspec.json.encode(message))
    except BrokenPipeError:
        pass
    finally:
        os.close(descriptor)
