"""What the background process says to whoever started it, once, through a pipe."""

import errno
import os

import msgspec

from notebooks_over_ssh.errors import UserError
from notebooks_over_ssh.sandbox.paths import SandboxPaths
from notebooks_over_ssh.sandbox.state import Network


class StartupMessage(msgspec.Struct, frozen=True):
    """Either the network, which can be used now, or why there is none."""

    network: Network | None = None
    error: str = ""
    hint: str = ""


def describe_failure(error: BaseException, paths: SandboxPaths) -> StartupMessage:
    """An exception as a user can understand it."""
    if isinstance(error, UserError):
        return StartupMessage(error=str(error), hint=error.hint)
    if isinstance(error, OSError):
        what = error.strerror or type(error).__name__
        return StartupMessage(
            error=f"the practice network could not be made in {paths.folder}: {what}", hint=hint_for(error)
        )
    return StartupMessage()


def hint_for(error: OSError) -> str:
    """The one thing to do when the folder cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room on that disk, or set XDG_DATA_HOME to a folder on another one"
    return "set XDG_DATA_HOME to a folder that you can write to"


def send_message(report: StartupMessage, descriptor: int) -> None:
    """Say it, and close the pipe. Nobody may be listening any more."""
    try:
        os.write(descriptor, msgspec.json.encode(report))
    except BrokenPipeError:
        pass
    finally:
        os.close(descriptor)
