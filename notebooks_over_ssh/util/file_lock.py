"""Whether a lock is held: what a process holds as long as it lives, and the system takes back when it dies."""

import fcntl
import os
from pathlib import Path


def is_held(path: Path) -> bool:
    """Whether any process holds the lock of this file, as filelock takes it with flock(2). Takes nothing itself."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two that ask at the same moment do not take each other for the holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
