"""The state file of the running sandbox, and whether the sandbox is running."""

import os

import msgspec

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.sandbox.paths import SandboxPaths, default_paths
from notebooks_over_ssh.util.atomic_write import atomic_write
from notebooks_over_ssh.util.command_hint import command
from notebooks_over_ssh.util.file_lock import is_held


class Network(msgspec.Struct, frozen=True):
    """A running sandbox: how to connect to its gateway, and the hosts behind it."""

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
    """The sandbox if it is running on this machine, else None.

    The proof is the lock that the daemon holds, not its state file: the kernel releases the lock when the
    daemon dies, so a crash, a reused PID and a damaged state file all give None.

    Raises TaskError when it is running on another machine that shares the folder.
    """
    paths = default_paths()
    if not is_held(paths.daemon_lock):
        return None
    state = _read(paths)
    if state is None:
        return None
    if state.machine != os.uname().nodename:
        raise TaskError(
            f"the sandbox is already running on {state.machine}, which shares the folder {paths.folder}",
            hint=f"stop it there ({command('sandbox.stop')}), or set XDG_DATA_HOME to a folder of this machine",
        )
    return state.network


def write_state(paths: SandboxPaths, network: Network) -> None:
    """Write the state file. Only the process that holds the daemon's lock calls this."""
    state = _State(machine=os.uname().nodename, network=network)
    atomic_write(paths.state_file, msgspec.json.encode(state))


def _read(paths: SandboxPaths) -> _State | None:
    try:
        return msgspec.json.decode(paths.state_file.read_bytes(), type=_State)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
