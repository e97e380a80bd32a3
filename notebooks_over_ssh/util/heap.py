"""Returns free heap memory to the operating system, and overwrites what freed objects have left in it.

glibc keeps free memory between allocated blocks. Packets of many sizes that one thread allocates and another frees
fragment its arenas (malloc_trim(3)).
"""

import ctypes
import gc
import sys
import time

TRIM_INTERVAL_S = 60.0
# Python's own allocator (Objects/obmalloc.c) serves objects up to this size, from blocks of multiples of BLOCK_BYTES.
MAX_SMALL_OBJECT_BYTES = 512
BLOCK_BYTES = 16
# Allocated of each size: several times what is free in a process of this program.
OVERWRITTEN_BYTES = 4 * 1024 * 1024
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


def overwrite_freed_objects() -> None:
    """Overwrite freed strings and other small objects, which may have been copies of a secret; takes 0.2 s.

    Python does not clear the memory of a freed object, and a string cannot be overwritten before. Objects of more than
    MAX_SMALL_OBJECT_BYTES are not reached.
    """
    gc.collect()
    header_bytes = sys.getsizeof(b"")
    first_size = -(-header_bytes // BLOCK_BYTES) * BLOCK_BYTES
    for size in range(first_size, MAX_SMALL_OBJECT_BYTES + 1, BLOCK_BYTES):
        blocks = [bytes(size - header_bytes) for _ in range(OVERWRITTEN_BYTES // size)]
        del blocks
