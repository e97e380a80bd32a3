"""What this machine remembers: one record a session, which is one server on one host, and one for its tunnel.

The record is there before the server: a start that is interrupted leaves a PendingSession, which leads to its host.
"""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from filelock import BaseFileLock

from notebooks_over_ssh import state_files
from notebooks_over_ssh.config.settings import SSH_PORT, Destination, Settings
from notebooks_over_ssh.errors import ConfigError, TaskError
from notebooks_over_ssh.ssh.host_keys import Machine
from notebooks_over_ssh.util.file_lock import is_held

Record = TypeVar("Record", bound=msgspec.Struct)


class RemoteHost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A host as it was reached: what tells one session from another."""

    gateway: str | None
    user: str
    host: str
    """The machine's own name, also where it was reached under the name of a pool."""
    requested_host: str
    """The host that the user named: a pool, or an alias of ssh_config(5). Every later step goes there."""
    ssh_port: int | None
    host_key: str

    @property
    def name(self) -> str:
        """What the session's files are called: the host, and a digest of what tells two machines of that name apart.

        The way there is no part of it: through another gateway it is the same session.
        """
        identity = f"{self.user}\0{self.host}\0{self.host_key}"
        return f"{self.host.replace(':', '_')}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"

    @property
    def destination(self) -> Destination:
        """The destination, as the user named it."""
        return Destination(host=self.requested_host, user=self.user, port=self.ssh_port)

    @property
    def machine(self) -> Machine:
        """What the destination must lead to."""
        return Machine(self.host, self.host_key)

    def __str__(self) -> str:
        route = f"through {self.gateway}" if self.gateway else "without a gateway"
        return f"{Destination(host=self.host, user=self.user, port=self.ssh_port)} {route}"


class PendingSession(RemoteHost, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A session whose server is about to be started; when the start was interrupted, only its host knows whether it runs."""


class Session(RemoteHost, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One server on one host, as the last step that reached it found it."""

    pid: int
    process_start: str
    remote_port: int
    application: str
    version: str
    directory: str
    started: str
    certificate_pem: str


AnySession = Session | PendingSession
SESSION = ".session.json"
PENDING = ".pending.json"
RENAMED_FIELDS = {"requested": "requested_host", "also": "extra_ports", "waits_for_you": "login_required"}
"""Fields of the records that earlier versions wrote, and their names now."""


class Tunnel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The process that forwards a local port to the server of a session."""

    pid: int
    local_port: int
    remote_port: int
    state: Literal["open", "reconnecting"]
    extra_ports: dict[int, int] = {}
    """By the port of the host, the local ports that lead to further ones."""
    login_required: str = ""
    """Why it does not find its way again by itself; "" while it tries."""
    forwarding_refusal: str = ""
    """Why the host forwards nothing itself, so that a program there carries the connections; "" where it forwards."""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.local_port}/"


def list_sessions() -> list[Session]:
    """Every recorded session, by host. A record that cannot be read is left out, and stays: see `damaged_records`."""
    records = (_read(path, Session) for path in state_files.entries(_folder(), SESSION))
    return [session for session in records if session]


def list_records() -> list[AnySession]:
    """Every session and, where there is no more than that, every pending one, by host."""
    records: dict[str, AnySession] = {session.name: session for session in list_sessions()}
    for path in state_files.entries(_folder(), PENDING):
        pending = _read(path, PendingSession)
        if pending:
            records.setdefault(pending.name, pending)
    return sorted(records.values(), key=lambda session: session.name)


def damaged_records() -> list[Path]:
    """The files that should be records of sessions and cannot be read as such."""
    kinds: dict[str, type[AnySession]] = {SESSION: Session, PENDING: PendingSession}
    return [
        path
        for suffix, kind in kinds.items()
        for path in state_files.entries(_folder(), suffix)
        if _read(path, kind) is None
    ]


def candidates(settings: Settings) -> list[AnySession]:
    """The sessions through the gateway of the settings that fit the host, user and port that the user named.

    A host is named by the machine's own name or by the one under which it was reached first.
    """
    destination = settings.destination()
    matching = [
        session
        for session in list_records()
        if session.gateway == settings.gateway
        and destination.user in (None, session.user)
        and destination.port in (None, session.ssh_port or SSH_PORT)
    ]
    if settings.explicit_host is None:
        return matching
    host = destination.host.lower()
    by_host = [session for session in matching if session.host.lower() == host]
    return by_host or [session for session in matching if session.requested_host.lower() == host]


def find(settings: Settings) -> AnySession | None:
    """The one session that fits what the user named, None where none does. Raises ConfigError where several do."""
    matches = candidates(settings)
    if len(matches) > 1:
        raise ambiguous_error(matches)
    return matches[0] if matches else None


def ambiguous_error(matches: Sequence[AnySession]) -> ConfigError:
    """The UserError of several sessions of which any may be meant: lists them."""
    return ConfigError(
        f"{len(matches)} sessions fit",
        hint=f"name the host of one, as in --host {matches[0].user}@{matches[0].host}",
        detail=tuple(map(str, matches)),
    )


def with_session(settings: Settings, session: AnySession) -> Settings:
    """The settings, naming this session."""
    destination = Destination(host=session.host, user=session.user, port=session.ssh_port or SSH_PORT)
    return msgspec.structs.replace(settings, gateway=session.gateway, explicit_host=str(destination))


def save_pending(pending: PendingSession) -> None:
    """Record that the server of the session is about to be started. Raises TaskError."""
    _write(_folder() / f"{pending.name}{PENDING}", pending)


def delete_pending(session: AnySession) -> None:
    """Remove the record that the server was about to be started."""
    state_files.remove(_folder() / f"{session.name}{PENDING}")


def find_any_gateway(settings: Settings) -> AnySession | None:
    """As `find`; else the one session that fits and was reached through another gateway, as before the settings were edited."""
    session = find(settings)
    if session is not None:
        return session
    gateways = {session.gateway for session in list_records()} - {settings.gateway}
    candidates_ = [find(msgspec.structs.replace(settings, gateway=gateway)) for gateway in gateways]
    matches = [session for session in candidates_ if session]
    return matches[0] if len(matches) == 1 else None


def find_duplicates(session: Session) -> list[Session]:
    """Further records of the very server: those that were made before its host was given a new key."""

    def server(record: Session) -> tuple[object, ...]:
        return record.host, record.user, record.pid, record.process_start, record.certificate_pem

    return [
        other for other in list_sessions() if other.name != session.name and server(other) == server(session)
    ]


def reload(session: Session) -> Session:
    """The session as it is on record now; as given where the record is gone."""
    return _read(_folder() / f"{session.name}{SESSION}", Session) or session


def save(session: Session) -> None:
    """Record the session, in place of an older record of it. Raises TaskError."""
    _write(_folder() / f"{session.name}{SESSION}", session)
    delete_pending(session)


def delete(session: AnySession) -> None:
    """Remove the session's record and that of its tunnel."""
    for ending in ("session.json", "pending.json", "tunnel.json", "tunnel.lock", "tunnel.log"):
        state_files.remove(_folder() / f"{session.name}.{ending}")


def get_tunnel(session: AnySession) -> Tunnel | None:
    """The tunnel that is held for the session right now, or None."""
    if not is_held(_folder() / f"{session.name}.tunnel.lock"):
        return None
    return _read(_folder() / f"{session.name}.tunnel.json", Tunnel)


def lock_tunnel(session: AnySession, timeout: float) -> AbstractContextManager[BaseFileLock]:
    """Take the lock that a tunnel holds as long as it lives. Raises TaskError, filelock.Timeout after so many seconds."""
    return state_files.acquire(_folder() / f"{session.name}.tunnel.lock", timeout)


def tunnel_log(session: Session) -> Path:
    """Where a detached tunnel writes what it would have said."""
    return _folder() / f"{session.name}.tunnel.log"


def save_tunnel(session: Session, tunnel: Tunnel) -> None:
    """Record the tunnel; its process holds the lock while it does."""
    _write(_folder() / f"{session.name}.tunnel.json", tunnel)


def delete_tunnel(session: Session) -> None:
    """Remove the record of the session's tunnel."""
    state_files.remove(_folder() / f"{session.name}.tunnel.json")


def _folder() -> Path:
    return state_files.state_folder("sessions")


def _write(path: Path, record: msgspec.Struct) -> None:
    state_files.write(path, msgspec.json.format(msgspec.json.encode(record)) + b"\n")


def _read(path: Path, kind: type[Record]) -> Record | None:
    try:
        content = state_files.read(path)
        if content is None:
            return None
        fields = msgspec.json.decode(content, type=dict[str, object])
        renamed = {RENAMED_FIELDS.get(name, name): value for name, value in fields.items()}
        return msgspec.convert(renamed, kind, str_keys=True)
    except (TaskError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
