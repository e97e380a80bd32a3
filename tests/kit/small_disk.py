"""A file system that is nearly or quite full."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.cli import run


@contextlib.contextmanager
def small_disk(folder: Path, limit: str) -> Iterator[None]:
    """Mount a file system with that limit, an option of tmpfs(5), at the folder. Skips the test where that fails."""
    result = run("mount", "-t", "tmpfs", "-o", f"{limit},mode=0700", "tmpfs", folder, check=False)
    if result.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {result.stderr.strip()}")
    try:
        yield
    finally:
        run("umount", folder)
