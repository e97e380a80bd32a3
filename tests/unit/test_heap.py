"""The memory of freed objects can be overwritten."""

import secrets
import sys
from pathlib import Path

import pytest

from notebooks_over_ssh.util.heap import overwrite_freed_objects


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc/self/mem")
@pytest.mark.parametrize("size", [100, 450])
def test_freed_objects(size: int) -> None:
    """A freed string is still in memory, and no more afterwards."""
    neighbours = [secrets.token_bytes(size) for _ in range(9)]  # they keep its memory from being unmapped
    secret = neighbours.pop(4)
    other = bytes(255 - byte for byte in secret)
    address = id(secret) + sys.getsizeof(b"") - 1
    del secret
    assert _is_at(address, other)
    overwrite_freed_objects()
    assert not _is_at(address, other)
    assert len(neighbours) == 8


def _is_at(address: int, inverted: bytes) -> bool:
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return bytes(255 - byte for byte in memory.read(len(inverted))) == inverted
