"""Installs the programs on the sandbox's hosts, and the socket at which they reach the daemon."""

import contextlib
import os
import shlex
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from notebooks_over_ssh.sandbox.fake_programs import ensure_host_programs
from notebooks_over_ssh.sandbox.paths import SandboxPaths
from notebooks_over_ssh.util.atomic_write import atomic_write

NODES = ("toy-node1", "toy-node2")
PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun", "sacct", "sacctmgr")
"""On every host; a node also has `sshd`. The last two only keep those of a real cluster from being asked."""
SOCKET_NAME = "socket"
_BACKLOG = 64
_SOURCE = Path(__file__).parents[1] / "static" / "toy_slurm" / "program.py"
_LAUNCHER = """\
#!/bin/sh
# A program of the sandbox's toy in place of Slurm.
exec {python} -I -S {source} {name} "$@"
"""
_CONFIGURATION = "# The sandbox's toy in place of Slurm has no settings.\n"


def configuration_file(paths: SandboxPaths) -> Path:
    """What SLURM_CONF names on the login node, so that it is taken for one."""
    return paths.toy_slurm / "slurm.conf"


def install_toy_slurm(paths: SandboxPaths, hosts: Iterable[str]) -> None:
    """Install the programs on these hosts and on the nodes. Raises OSError."""
    programs = paths.toy_slurm / "bin"
    programs.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (*PROGRAMS, "sshd"):
        launcher = _LAUNCHER.format(
            python=shlex.quote(sys.executable), source=shlex.quote(str(_SOURCE)), name=name
        )
        atomic_write(programs / name, launcher.encode(), mode=0o755)
    atomic_write(configuration_file(paths), _CONFIGURATION.encode(), mode=0o644)
    for node in NODES:
        ensure_host_programs(paths.host_programs(node))
        _link(programs, paths.host_programs(node), (*PROGRAMS, "sshd"))
    for host in hosts:
        _link(programs, paths.host_programs(host), PROGRAMS)


def listen_for_programs(paths: SandboxPaths) -> socket.socket:
    """Replace the socket by a new one, and listen on it. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX)
    listener.setblocking(False)
    # The path of a socket has at most 108 bytes (unix(7)), 104 on macOS, so it is a relative one.
    previous = os.getcwd()
    os.chdir(paths.toy_slurm)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET_NAME)
        listener.bind(SOCKET_NAME)
    except BaseException:
        listener.close()
        raise
    finally:
        os.chdir(previous)
    listener.listen(_BACKLOG)
    return listener


def _link(programs: Path, folder: Path, names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(FileExistsError):
            (folder / name).symlink_to(os.path.relpath(programs / name, folder))
