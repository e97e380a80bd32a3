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

MAX_FILE_BYTES = 1 << 20  # a record has a few thousand bytes
_STATE_VARIABLE = "XDG_STATE_HOME"  # XDG Base Directory Specification


def state_folder(name: str) -> Path:
    """The folder `name` in the state folder; it may not exist. Raises TaskError if another account owns it."""
    folder = user_state_path("notebooks-over-ssh") / name
    with _convert_errors(folder, "cannot read"):
        try:
            owner = folder.stat().st_uid
        except FileNotFoundError:
            return folder
    if owner != os.getuid():
        raise TaskError(
            f"{folder} belongs to another account",
            hint=f"move it away, or set {_STATE_VARIABLE} to a folder of your own",
        )
    return folder


def entries(folder: Path, suffix: str) -> list[Path]:
    """The files in the folder whose names end in `suffix`, sorted; none if there is no folder. Raises TaskError."""
    with _convert_errors(folder, "cannot read"):
        try:
            return sorted(folder / name for name in os.listdir(folder) if name.endswith(suffix))
        except FileNotFoundError:
            return []


def read(path: Path) -> bytes | None:
    """The content; None if there is no file. Raises TaskError, also if it is larger than MAX_FILE_BYTES."""
    with _convert_errors(path, "cannot read"):
        try:
            # Opening a FIFO would block, and a symbolic link may point to a file that is not ours.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise TaskError(f"{path} is larger than {MAX_FILE_BYTES} bytes", hint="move it away")
    return content


def write(path: Path, content: bytes) -> None:
    """Write a private file atomically; creates its folder. Raises TaskError."""
    with _convert_errors(path.parent, "cannot write to"):
        _make_folder(path.parent)
        atomic_write(path, content)


def remove(path: Path) -> None:
    """Remove the file if it exists. Raises TaskError."""
    with _convert_errors(path, "cannot remove"):
        path.unlink(missing_ok=True)


def open_log(path: Path) -> int:
    """Truncate or create a private file, and return a descriptor that writes to it. Raises TaskError."""
    with _convert_errors(path, "cannot write to"):
        _make_folder(path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, 0o600)


def acquire(path: Path, timeout: float) -> AbstractContextManager[BaseFileLock]:
    """Acquire the lock of the file; the context manager, or the kernel when this process exits, releases it.

    Raises TaskError, and filelock.Timeout after `timeout` seconds.
    """
    with _convert_errors(path, "cannot lock"):
        _make_folder(path.parent)
        return FileLock(path, mode=0o600).acquire(timeout=timeout)


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def _convert_errors(path: Path, failure: str) -> Iterator[None]:
    """Raise TaskError in place of an OSError."""
    try:
        yield
    except Timeout:  # an OSError too
        raise
    except OSError as error:
        raise TaskError(f"{failure} {path}: {error.strerror or error}", hint=_hint(error)) from error


def _hint(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some disk space"
    if error.errno in (errno.EINVAL, errno.ELOOP):
        return "move it away"
    return f"change its permissions, or set {_STATE_VARIABLE} to another folder"
