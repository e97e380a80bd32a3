"""Paths of Unix sockets, whose length is limited (unix(7))."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

MAX_PATH_BYTES = 100  # 108 with the final zero byte on Linux, 104 on macOS


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A path of the same file that fits into a socket's address. Raises OSError."""
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
