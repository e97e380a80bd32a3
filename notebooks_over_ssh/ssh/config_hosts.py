"""The host names in ssh_config(5) files, for shell completion."""

import contextlib
import glob
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

# As OpenSSH limits it (readconf.c, READCONF_MAX_DEPTH).
MAX_INCLUDE_DEPTH = 16
MAX_FILES = 64
MAX_FILE_BYTES = 1 << 20
USER_CONFIG = "~/.ssh/config"


def host_names() -> list[str]:
    """The patterns of `Host` lines that have no wildcard, in their order, from the user's file and those it includes.

    A file that cannot be read is skipped.
    """
    names: dict[str, None] = {}
    for line in _lines(Path(USER_CONFIG).expanduser(), set(), 0):
        keyword, arguments = _parse(line)
        if keyword == "host":
            names |= dict.fromkeys(name for name in arguments if not re.search(r"[*?!]", name))
    return list(names)


def _lines(path: Path, read: set[Path], depth: int) -> Iterator[str]:
    if path in read or len(read) == MAX_FILES or depth > MAX_INCLUDE_DEPTH:
        return
    read.add(path)
    text = ""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if path.is_file() and path.stat().st_size <= MAX_FILE_BYTES:
            text = path.read_text("utf-8")
    for line in text.splitlines():
        keyword, arguments = _parse(line)
        if keyword != "include":
            yield line
        for pattern in arguments if keyword == "include" else ():
            # Relative to ~/.ssh, as in ssh_config(5).
            absolute = os.path.join(os.path.expanduser("~/.ssh"), os.path.expanduser(pattern))
            for file in sorted(glob.glob(absolute)):
                yield from _lines(Path(file), read, depth + 1)


def _parse(line: str) -> tuple[str, list[str]]:
    """The keyword in lower case, and its arguments."""
    match = re.match(r"\s*(\w+)(?:\s*=\s*|\s+)(.*)", line)
    if not match:
        return "", []
    try:
        return match[1].lower(), shlex.split(match[2], comments=True)
    except ValueError:  # a quotation mark that is not closed
        return match[1].lower(), []
