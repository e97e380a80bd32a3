"""Checks for programs on the host, with Patchwork."""

import shlex
import sys

from notebooks_over_ssh.ssh.connection import Connection


def has_program(connection: Connection, name: str) -> bool:
    """Whether the program is on PATH in a non-interactive session; False without Patchwork (only a checkout has it)."""
    try:
        import six

        # Patchwork imports the copy of six that earlier releases of Invoke contained (docs/design.md).
        sys.modules.setdefault("invoke.vendor.six", six)
        from patchwork.environment import have_program
    except ImportError:
        return False
    return bool(have_program(connection, shlex.quote(name)))
