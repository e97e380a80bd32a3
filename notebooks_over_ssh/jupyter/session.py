"""The records on this machine: one per session, which is one server on one host, and one for its tunnel.

The record is written before the server is started, so an interrupted start leaves a PendingSession with its host.
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
from notebooks_over_ssh.launchers.base import Job, LauncherName
from notebooks_over_ssh.ssh.host_keys import Machine
from notebooks_over_ssh.util.file_lock import is_held

Record = TypeVar("Record", bound=msgspec.Struct)


class RemoteHost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A host and the route to it: the identity of a session."""

    gateway: str | None
    user: str
    host: str
    """The host name that the machine reports, which may be a member of the pool that was named."""
    requested_host: str
    """The host that the user named, such as a pool or an alias of ssh_config(5). Later connections use it."""
    ssh_port: int | None
    host_key: str
    host_keys: dict[str, list[str]] = {}
    """The `ssh.host_keys` by which the route was verified, of which the settings of another site know nothing."""
    launcher: LauncherName = "host"
    job: Job | None = None
    """The job in which the server runs, if a scheduler started it; None also while it may not be submitted yet."""

    @property
    def name(self) -> str:
        """The base name of the session's files: the host, and a digest that distinguishes machines of the same name.

        The route is not part of it: through another gateway it is the same session. A job is on another machine each
        time, so its session is that of the user on the cluster, and keeps its files when another job takes its place.
        """
        if self.launcher == "host":
            host, identity = self.host, f"{self.user}\0{self.host}\0{self.host_key}"
        else:
            host, identity = self.requested_host, f"{self.user}\0{self.gateway}\0{self.requested_host}"
        return f"{host.replace(':', '_')}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"

    @property
    def destination(self) -> Destination:
        """The destination, as the user named it."""
        return Destination(host=self.requested_host, user=self.user, port=self.ssh_port)

    @property
    def login_machine(self) -> Machine | None:
        """The machine that the destination must be; None if it leads to a job, as any login node does."""
        return Machine(self.host, self.host_key) if self.launcher == "host" else None

    def __str__(self) -> str:
        route = f"through {self.gateway}" if self.gateway else "without a gateway"
        return f"{Destination(host=self.host, user=self.user, port=self.ssh_port)} {route}"


class PendingSession(RemoteHost, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A session whose server is about to be started. After an interrupt, only the host knows whether it was."""


class Session(RemoteHost, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One server on one host, as of the last command that reached it."""

    pid: int
    process_start: str
    remote_port: int
    application: str
    version: str
    directory: str
    started: str
    certificate_pem: str


AnySession = Session | PendingSession
Kind = TypeVar("Kind", bound=AnySession)
SESSION = ".session.json"
PENDING = ".pending.json"
PLAIN_TOKEN = ".plain-token"  # noqa: S105 # a file's name
RENAMED_FIELDS = {"requested": "requested_host", "also": "extra_ports", "waits_for_you": "login_required"}
"""Fields of the records that earlier versions wrote, and their names now."""


class Tunnel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The process that forwards a local port to the server of a session."""

    pid: int
    local_port: int
    remote_port: int | None
    """None until there is a server."""
    state: Literal["open", "reconnecting", "waiting"]
    """`waiting` is for a job that has not started; connections to the local port wait too."""
    extra_ports: dict[int, int] = {}
    """The local port of each further port of the host."""
    login_required: str = ""
    """Why it does not reconnect by itself; "" while it tries."""
    forwarding_refusal: str = ""
    """Why the SSH server does not forward connections, so that a program on the host does; "" if it does."""
    plain_port: int | None = None
    """The local port without TLS; its token is in a file of its own."""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.local_port}/"


def list_sessions() -> list[Session]:
    """Every recorded session, by host, without records that cannot be read: see `damaged_records`."""
    records = (_read(path, Session) for path in state_files.entries(_folder(), SESSION))
    return [session for session in records if session]


def list_records() -> list[AnySession]:
    """Every session, and every pending session that has no session yet, by host."""
    records: dict[str, AnySession] = {session.name: session for session in list_sessions()}
    for path in state_files.entries(_folder(), PENDING):
        pending = _read(path, PendingSession)
        if pending:
            records.setdefault(pending.name, pending)
    return sorted(records.values(), key=lambda session: session.name)


def damaged_records() -> list[Path]:
    """The files of sessions that cannot be read."""
    kinds: dict[str, type[AnySession]] = {SESSION: Session, PENDING: PendingSession}
    return [
        path
        for suffix, kind in kinds.items()
        for path in state_files.entries(_folder(), suffix)
        if _read(path, kind) is None
    ]


def candidates(settings: Settings) -> list[AnySession]:
    """The sessions that match the gateway of the settings, and the host, user and port that the user named.

    The host matches by the name that the machine reports, else by the one that the user named first.
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
    """The one session that matches the settings, None if there is none. Raises ConfigError if several match."""
    matches = candidates(settings)
    if len(matches) > 1:
        raise ambiguous_error(matches)
    return matches[0] if matches else None


def ambiguous_error(matches: Sequence[AnySession]) -> ConfigError:
    """The error for several matching sessions, which lists them."""
    return ConfigError(
        f"{len(matches)} sessions match",
        hint=f"name the host of one, as in --host {matches[0].user}@{matches[0].host}",
        detail=tuple(map(str, matches)),
    )


def with_session(settings: Settings, session: AnySession) -> Settings:
    """The settings, changed to match this session only."""
    destination = Destination(host=session.host, user=session.user, port=session.ssh_port or SSH_PORT)
    return msgspec.structs.replace(settings, gateway=session.gateway, explicit_host=str(destination))


def save_pending(pending: PendingSession) -> None:
    """Write the record that the server of the session is about to be started. Raises TaskError.

    It replaces the record of a job: a new one is submitted only when that has ended.
    """
    _write(_folder() / f"{pending.name}{PENDING}", pending)
    if pending.launcher != "host":
        state_files.remove(_folder() / f"{pending.name}{SESSION}")


def to_pending(session: AnySession) -> PendingSession:
    """The session without its server."""
    return PendingSession(**{name: getattr(session, name) for name in RemoteHost.__struct_fields__})


def delete_pending(session: AnySession) -> None:
    """Remove the record that the server was about to be started."""
    state_files.remove(_folder() / f"{session.name}{PENDING}")


def find_any_gateway(settings: Settings) -> AnySession | None:
    """As `find`; without a match, the one session that matches apart from its gateway, which may have been edited."""
    session = find(settings)
    if session is not None:
        return session
    gateways = {session.gateway for session in list_records()} - {settings.gateway}
    sessions = [find(msgspec.structs.replace(settings, gateway=gateway)) for gateway in gateways]
    matches = [session for session in sessions if session]
    return matches[0] if len(matches) == 1 else None


def with_launcher(settings: Settings, session: AnySession | None) -> Settings:
    """The settings with the launcher of the session, unless they name one."""
    if session is None or settings.notebook.launcher:
        return settings
    return msgspec.structs.replace(
        settings, notebook=msgspec.structs.replace(settings.notebook, launcher=session.launcher)
    )


def reload(session: Kind) -> Session | Kind:
    """The current record of the session, or the argument if there is none."""
    return _read(_folder() / f"{session.name}{SESSION}", Session) or session


def save(session: Session) -> None:
    """Write the record of the session, and delete its pending one. Raises TaskError."""
    _write(_folder() / f"{session.name}{SESSION}", session)
    delete_pending(session)


def delete(session: AnySession) -> None:
    """Delete the records of the session and of its tunnel."""
    for suffix in (SESSION, PENDING, ".tunnel.json", ".tunnel.lock", ".tunnel.log", PLAIN_TOKEN):
        state_files.remove(_folder() / f"{session.name}{suffix}")


def get_tunnel(session: AnySession) -> Tunnel | None:
    """The tunnel of the session if its process is running, else None."""
    if not is_held(_folder() / f"{session.name}.tunnel.lock"):
        return None
    return _read(_folder() / f"{session.name}.tunnel.json", Tunnel)


def lock_tunnel(session: AnySession, timeout: float) -> AbstractContextManager[BaseFileLock]:
    """Acquire the lock that a tunnel holds while it runs. Raises TaskError, or filelock.Timeout after `timeout` s."""
    return state_files.acquire(_folder() / f"{session.name}.tunnel.lock", timeout)


def tunnel_log(session: AnySession) -> Path:
    """The log of a detached tunnel, which has the messages that it would print."""
    return _folder() / f"{session.name}.tunnel.log"


def save_tunnel(session: AnySession, tunnel: Tunnel) -> None:
    """Write the record of the tunnel; its process holds the lock."""
    _write(_folder() / f"{session.name}.tunnel.json", tunnel)


def delete_tunnel(session: AnySession) -> None:
    """Delete the record of the session's tunnel, and the token of its plain port."""
    state_files.remove(_folder() / f"{session.name}.tunnel.json")
    state_files.remove(plain_token_file(session))


def plain_token_file(session: AnySession) -> Path:
    """The file of the token of the tunnel's plain port (plain_address.py)."""
    return _folder() / f"{session.name}{PLAIN_TOKEN}"


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
    except (TaskError, msgspec.DecodeError, RecursionError):
        return None
