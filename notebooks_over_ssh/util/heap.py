"""Gives memory that is free back to the system.

glibc keeps what was freed between blocks that are in use: packets of all sizes, freed in another thread than the one
that made them, leave its arenas full of gaps (malloc_trim(3)).
"""

import ctypes
import time

TRIM_EVERY_S = 60.0
_trimmed_at = time.monotonic()


def trim() -> None:
    """Do so, at most once a minute; nothing where the C library is another."""
    global _trimmed_at
    if time.monotonic() - _trimmed_at < TRIM_EVERY_S:
        return
    _trimmed_at = time.monotonic()
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
