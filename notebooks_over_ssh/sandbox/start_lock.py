"""Keeps starters and stoppers of the practice network apart."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from notebooks_over_ssh.errors import Failed
from notebooks_over_ssh.sandbox.paths import Place

START_SECONDS = 60.0


@contextmanager
def holding_start_lock(place: Place) -> Iterator[None]:
    """Make the folder, and keep every other starter and stopper out of it meanwhile.

    Raises Failed when another one takes longer than a start may take, OSError when the folder cannot be made.
    """
    deadline = time.monotonic() + START_SECONDS
    # Outside of the loop: where no folder can be made at all, as below /proc, that is FileNotFoundError too.
    place.folder.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(place.start_lock, mode=0o600)
    while True:
        try:
            _make_folder(place.folder)
            lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
            break
        except FileNotFoundError:
            # A stop removed the folder between two steps.
            if time.monotonic() > deadline:
                raise
        except filelock.Timeout:
            raise Failed(
                f"another process has been starting or stopping the practice network for {START_SECONDS:.0f} s",
                hint=f"see {place.log}, end that process and try again",
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
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise Failed(
                f"{folder} is not a folder that only you can enter, so keys are not safe in it",
                hint=f"remove it (rm -r '{folder}') and try again",
            ) from None
