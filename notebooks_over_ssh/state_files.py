"""Reads, writes and locks the program's files below the user's state folder.

Every failure is a TaskError that names the path. Reading creates nothing.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout
from platformdirs import user_state_path

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.util.atomic_write import atomic_write

FILE_SIZE = 1 << 20  # bytes; a record has some thousand
_MOVED_BY = "XDG_STATE_HOME"  # XDG Base Directory Specification


def state_folder(name: str) -> Path:
    """The folder of that name, which may not exist yet. Raises TaskError where another account owns it."""
    folder = user_state_path("notebooks-over-ssh") / name
    with _failing(folder, "cannot read"):
        try:
            found = folder.stat()
        except FileNotFoundError:
            return folder
    if found.st_uid != os.getuid():
        raise TaskError(
            f"{folder} belongs to another account",
            hint=f"move it away, or set {_MOVED_BY} to a folder of your own",
        )
    return folder


def entries(folder: Path, suffix: str) -> list[Path]:
    """The files of the folder whose names end so, in order; none where there is no folder. Raises TaskError."""
    with _failing(folder, "cannot read"):
        try:
            return sorted(folder / name for name in os.listdir(folder) if name.endswith(suffix))
        except FileNotFoundError:
            return []


def read(path: Path) -> bytes | None:
    """The content, None where there is no file. Raises TaskError, also where it is no plain file of at most FILE_SIZE."""
    with _failing(path, "cannot read"):
        try:
            # A FIFO would wait for somebody who writes, and a link may lead to a file that is not ours.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a plain file")
            content = file.read(FILE_SIZE + 1)
    if len(content) > FILE_SIZE:
        raise TaskError(f"{path} is larger than any file of ours", hint="move it away")
    return content


def write(path: Path, content: bytes) -> None:
    """Put a private file in place, whole or not at all, and its folder where that is missing. Raises TaskError."""
    with _failing(path.parent, "cannot write to"):
        _make(path.parent)
        atomic_write(path, content)


def remove(path: Path) -> None:
    """Remove the file, if it is there. Raises TaskError."""
    with _failing(path, "cannot remove"):
        path.unlink(missing_ok=True)


def open_log(path: Path) -> int:
    """A descriptor that writes to the private file from its beginning. Raises TaskError."""
    with _failing(path, "cannot write to"):
        _make(path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, 0o600)


def acquire(path: Path, timeout: float) -> AbstractContextManager[BaseFileLock]:
    """The lock of the file, taken until the context is left; the system takes it back from a process that dies.

    Raises TaskError, and filelock.Timeout after `timeout` seconds.
    """
    with _failing(path, "cannot lock"):
        _make(path.parent)
        return FileLock(path, mode=0o600).acquire(timeout=timeout)


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def _failing(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except Timeout:  # an OSError too
        raise
    except OSError as error:
        raise TaskError(f"{what} {path}: {error.strerror or error}", hint=_hint(error)) from error


def _hint(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room there"
    if error.errno in (errno.EINVAL, errno.ELOOP):
        return "move it away"
    return f"make it a folder or file that you can write to, or set {_MOVED_BY} to another folder"
