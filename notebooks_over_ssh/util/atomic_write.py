"""Atomic replacement of a file's content."""

import os
import secrets
from pathlib import Path


def atomic_write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a temporary file beside `path` and rename it, so that a reader sees the old content or the new.

    The file has its mode from the start. Raises OSError; the old content is kept then.
    """
    temp_path = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temp_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.replace(temp_path, path)
    except BaseException:
        temp_path.unlink(missing_ok=True)
        raise
