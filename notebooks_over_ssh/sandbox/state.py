"""What is known about the running practice network, and whether it runs."""

import os

import msgspec

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.sandbox.paths import SandboxPaths, default_paths
from notebooks_over_ssh.util.atomic_write import atomic_write
from notebooks_over_ssh.util.command_hint import command
from notebooks_over_ssh.util.file_lock import is_held


class Network(msgspec.Struct, frozen=True):
    """A running practice network: how to reach its gateway, and what lies behind it."""

    pid: int
    gateway_port: int
    client_key: str
    known_hosts: str
    home: str
    hosts: tuple[str, ...]
    pool: str


class _State(msgspec.Struct, frozen=True):
    machine: str
    network: Network


def find_running() -> Network | None:
    """The practice network if it runs on this machine, else None.

    What proves it is the lock that the background process holds while it lives, not the record it wrote: the
    system releases a lock with its holder, so a crash, a reused PID and garbage in the record all read as None.

    Raises TaskError when it runs on another machine that shares this folder.
    """
    paths = default_paths()
    if not is_held(paths.daemon_lock):
        return None
    record = _read(paths)
    if record is None:
        return None
    if record.machine != os.uname().nodename:
        raise TaskError(
            f"the practice network already runs on {record.machine}, which shares the folder {paths.folder}",
            hint=f"stop it there ({command('sandbox.stop')}), or set XDG_DATA_HOME to a folder of this machine",
        )
    return record.network


def write_state(paths: SandboxPaths, network: Network) -> None:
    """Tell other processes about the running network. Called by the holder of the lock only."""
    record = _State(machine=os.uname().nodename, network=network)
    atomic_write(paths.state_file, msgspec.json.encode(record))


def _read(paths: SandboxPaths) -> _State | None:
    try:
        return msgspec.json.decode(paths.state_file.read_bytes(), type=_State)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
