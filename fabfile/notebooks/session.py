"""What this machine remembers: one record a session, which is one server on one host, and one for its tunnel."""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from filelock import FileLock
from platformdirs import user_state_path

from fabfile.locks import is_held
from fabfile.settings import Place, Settings
from fabfile.ssh.host_keys import Machine

Record = TypeVar("Record", bound=msgspec.Struct)


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One server on one host, as the last step that reached it found it."""

    gateway: str | None
    user: str
    host: str
    """The machine's own name, also where it was reached under the name of a pool."""
    requested: str
    """The host that the user named: a pool, or an alias of ssh_config(5). Every later step goes there."""
    ssh_port: int | None
    host_key: str
    pid: int
    process_start: str
    remote_port: int
    application: str
    version: str
    directory: str
    started: str
    certificate_pem: str

    @property
    def name(self) -> str:
        """What the session's files are called: the host, and a digest of what tells two machines of that name apart.

        The way there is no part of it: through another gateway it is the same session.
        """
        identity = f"{self.user}\0{self.host}\0{self.host_key}"
        return f"{self.host.replace(':', '_')}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"

    @property
    def place(self) -> Place:
        """The destination, as the user named it."""
        return Place(host=self.requested, user=self.user, port=self.ssh_port)

    @property
    def machine(self) -> Machine:
        """What the destination must lead to."""
        return Machine(self.host, self.host_key)


class Tunnel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The process that forwards a local port to the server of a session."""

    pid: int
    local_port: int
    remote_port: int
    state: Literal["open", "reconnecting"]
    also: dict[int, int] = {}
    """By the port of the host, the local ports that lead to further ones."""
    waits_for_you: str = ""
    """Why it does not find its way again by itself; "" while it tries."""
    forwarding_refusal: str = ""
    """Why the host forwards nothing itself, so that a program there carries the connections; "" where it forwards."""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.local_port}/"


def every_session() -> list[Session]:
    """Every recorded session, by host. A record that cannot be read is left out, and stays for a human to see."""
    found = (_read(path, Session) for path in sorted(_folder().glob("*.session.json")))
    return [session for session in found if session]


def find(settings: Settings) -> Session | None:
    """The session that the user means: of the host given, else the only one, else of `notebook.host`."""
    sessions = [session for session in every_session() if session.gateway == settings.gateway]
    if settings.host_given is None and len(sessions) == 1:
        return sessions[0]
    place = settings.place()
    ours = [
        session
        for session in sessions
        if place.user in (None, session.user) and place.port in (None, session.ssh_port)
    ]
    by_host = [session for session in ours if session.host == place.host]
    by_request = [session for session in ours if session.requested == place.host]
    return next(iter(by_host or by_request), None)


def find_by_record(settings: Settings) -> Session | None:
    """As `find`; else the one session that fits and was reached through another gateway, as before the settings were edited."""
    session = find(settings)
    if session is not None:
        return session
    gateways = {session.gateway for session in every_session()} - {settings.gateway}
    found = [find(msgspec.structs.replace(settings, gateway=gateway)) for gateway in gateways]
    fitting = [session for session in found if session]
    return fitting[0] if len(fitting) == 1 else None


def other_records(session: Session) -> list[Session]:
    """Further records of the very server: those that were made before its host was given a new key."""

    def server(of: Session) -> tuple[object, ...]:
        return of.host, of.user, of.pid, of.process_start, of.certificate_pem

    return [
        other for other in every_session() if other.name != session.name and server(other) == server(session)
    ]


def remember(session: Session) -> None:
    """Record the session, in place of an older record of it."""
    _write(_folder() / f"{session.name}.session.json", session)


def forget(session: Session) -> None:
    """Remove the session's record and that of its tunnel."""
    for ending in ("session.json", "tunnel.json", "tunnel.lock", "tunnel.log"):
        (_folder() / f"{session.name}.{ending}").unlink(missing_ok=True)


def tunnel_of(session: Session) -> Tunnel | None:
    """The tunnel that is held for the session right now, or None."""
    if not is_held(_folder() / f"{session.name}.tunnel.lock"):
        return None
    return _read(_folder() / f"{session.name}.tunnel.json", Tunnel)


def tunnel_lock(session: Session) -> FileLock:
    """The lock that a tunnel holds as long as it lives; the system takes it back from a process that dies."""
    return FileLock(_folder() / f"{session.name}.tunnel.lock", mode=0o600)


def tunnel_log(session: Session) -> Path:
    """Where a detached tunnel writes what it would have said."""
    return _folder() / f"{session.name}.tunnel.log"


def remember_tunnel(session: Session, tunnel: Tunnel) -> None:
    """Record the tunnel; its process holds `tunnel_lock` while it does."""
    _write(_folder() / f"{session.name}.tunnel.json", tunnel)


def forget_tunnel(session: Session) -> None:
    """Remove the record of the session's tunnel."""
    (_folder() / f"{session.name}.tunnel.json").unlink(missing_ok=True)


def _folder() -> Path:
    folder = user_state_path("notebooks-over-ssh") / "sessions"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _write(path: Path, record: msgspec.Struct) -> None:
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def _read(path: Path, kind: type[Record]) -> Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None
