"""Tests whether a file lock is held; the kernel releases it when its process exits."""

import fcntl
import os
from pathlib import Path


def is_held(path: Path) -> bool:
    """Whether any process holds the flock(2) lock that filelock acquires; does not acquire it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two concurrent calls do not take each other for the holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
