"""Keeps starters and stoppers of the practice network apart."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.sandbox.paths import SandboxPaths

START_TIMEOUT_S = 60.0


@contextmanager
def hold_start_lock(paths: SandboxPaths) -> Iterator[None]:
    """Make the folder, and keep every other starter and stopper out of it meanwhile.

    Raises TaskError when another one takes longer than a start may take, OSError when the folder cannot be made.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    # Outside of the loop: where no folder can be made at all, as below /proc, that is FileNotFoundError too.
    paths.folder.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(paths.start_lock, mode=0o600)
    while True:
        try:
            _make_folder(paths.folder)
            lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
            break
        except FileNotFoundError:
            # A stop removed the folder between two steps.
            if time.monotonic() > deadline:
                raise
        except filelock.Timeout:
            raise TaskError(
                f"another process has been starting or stopping the practice network for {START_TIMEOUT_S:.0f} s",
                hint=f"see {paths.log}, end that process and try again",
            ) from None
    try:
        yield
    finally:
        lock.release()


def _make_folder(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        info = folder.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
            raise TaskError(
                f"{folder} is not a folder that only you can enter, so keys are not safe in it",
                hint=f"remove it (rm -r '{folder}') and try again",
            ) from None
