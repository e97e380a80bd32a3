"""What is known about the running practice network, and whether it runs."""

import os

import msgspec

from notebooks_over_ssh.errors import Failed
from notebooks_over_ssh.sandbox.paths import Place, the_place, write_private
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


class _Record(msgspec.Struct, frozen=True):
    machine: str
    network: Network


def running() -> Network | None:
    """The practice network if it runs on this machine, else None.

    What proves it is the lock that the background process holds while it lives, not the record it wrote: the
    system releases a lock with its holder, so a crash, a reused PID and garbage in the record all read as None.

    Raises Failed when it runs on another machine that shares this folder.
    """
    place = the_place()
    if not is_held(place.daemon_lock):
        return None
    record = _read(place)
    if record is None:
        return None
    if record.machine != os.uname().nodename:
        raise Failed(
            f"the practice network already runs on {record.machine}, which shares the folder {place.folder}",
            hint=f"stop it there ({command('sandbox.stop')}), or set XDG_DATA_HOME to a folder of this machine",
        )
    return record.network


def write_record(place: Place, network: Network) -> None:
    """Tell other processes about the running network. Called by the holder of the lock only."""
    record = _Record(machine=os.uname().nodename, network=network)
    write_private(place.record, msgspec.json.encode(record))


def _read(place: Place) -> _Record | None:
    try:
        return msgspec.json.decode(place.record.read_bytes(), type=_Record)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
