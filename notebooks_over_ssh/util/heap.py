"""Returns free heap memory to the operating system.

glibc keeps free memory between allocated blocks. Packets of many sizes that one thread allocates and another frees
fragment its arenas (malloc_trim(3)).
"""

import ctypes
import time

TRIM_INTERVAL_S = 60.0
_trimmed_at = time.monotonic()


def trim() -> None:
    """Return it, at most once every TRIM_INTERVAL_S; does nothing with another C library than glibc."""
    global _trimmed_at
    if time.monotonic() - _trimmed_at < TRIM_INTERVAL_S:
        return
    _trimmed_at = time.monotonic()
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
