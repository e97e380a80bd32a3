"""Processes with a wrong clock, by libfaketime (faketime(1))."""

import contextlib
from pathlib import Path

import psutil
import pytest


def moved_clock(offset: str) -> dict[str, str]:
    """The environment of a process whose clock is off by `offset`, such as -30 (seconds) or +3d.

    Skips the test where libfaketime is missing.
    """
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        pytest.skip("needs libfaketime (Debian's package of that name)")
    # Without NO_FAKE_STAT file times would shift too. FAKETIME_DONT_FAKE_MONOTONIC of release 0.9.10 makes
    # clock_nanosleep(2) fail.
    return {"LD_PRELOAD": str(libraries[0]), "FAKETIME": offset, "NO_FAKE_STAT": "1"}


def remove_leftovers() -> None:
    """Remove the shared memory of processes with a moved clock that were killed: libfaketime leaves it behind."""
    for pattern in ("faketime_shm_*", "sem.faketime_sem_*"):
        for path in Path("/dev/shm").glob(pattern):
            if not psutil.pid_exists(int(path.name.rpartition("_")[2])):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
