"""Looks for a program, a file or a folder on the host, with Patchwork."""

import shlex
import sys
from typing import Any

import six

from notebooks_over_ssh.ssh.connection import Connection

# Patchwork imports the copy of six that Invoke carried once; the real one is the same module (docs/design.md).
sys.modules.setdefault("invoke.vendor.six", six)


def has_file(connection: Connection, path: str) -> bool:
    """Whether there is a file or a folder of that path; a leading `~/` is the user's home."""
    from patchwork.files import exists

    home = path.startswith("~/")
    quoted = '"$HOME"/' + shlex.quote(path[2:]) if home else shlex.quote(path)
    return bool(exists(connection, quoted, runner=_posix_runner(connection)))


def has_program(connection: Connection, name: str) -> bool:
    """Whether a non-interactive login finds the program."""
    from patchwork.environment import have_program

    return bool(have_program(connection, shlex.quote(name)))


def _posix_runner(connection: Connection) -> Any:
    """A runner for Patchwork, whose commands are for a POSIX shell, while the login shell may be another."""

    def run(command: str, **kwargs: Any) -> Any:
        return connection.run(f"exec /bin/sh -c {shlex.quote(command)}", in_stream=False, **kwargs)

    return run
