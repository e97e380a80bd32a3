"""status: show every session with its server, tunnel and certificate."""

import contextlib
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import RemoteError, TaskError, UserError
from notebooks_over_ssh.jupyter import certificate, plain_address, server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import (
    SANDBOX,
    connect_to_login_of,
    connect_to_session,
    is_without_machine,
    job_state,
    sandbox_runs,
)
from notebooks_over_ssh.jupyter.session import AnySession, Session
from notebooks_over_ssh.launchers.base import JobState
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.mux.login_sockets import HeldLogin, held_logins
from notebooks_over_ssh.ssh.prompting import CredentialPrompter, NullPrompter
from notebooks_over_ssh.ssh.queries import run_query
from notebooks_over_ssh.tasks.login_description import describe
from notebooks_over_ssh.terminal import print_detail, print_json, print_step, warn
from notebooks_over_ssh.util.command_hint import command
from notebooks_over_ssh.util.duration import describe_duration

# For all hosts together, unless -t is given: the user waits for the output, and a tunnel checks its connection itself.
REPLY_TIMEOUT_S = 6  # seconds


# As for a queued job: no more requests than one every 30 s.
MAX_JOB_AGE_S = 35


class SessionState(NamedTuple):
    """The states of a session's server and of its job; None if the host does not reply, or if there is no job.

    A server in a job is not asked itself, because the job ends with it.
    """

    server: server.ServerState | None
    job: JobState | None = None
    login: HeldLogin | None = None
    """The login of another process that was used."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of `status --json`: a session, or a login that is held and that none of them has."""

    host: str | None = None
    user: str | None = None
    gateway: str | None = None
    server: str | None = None
    """`running`, `stopped` or `unreachable`; None for a login."""
    pid: int | None = None
    remote_port: int | None = None
    application: str | None = None
    directory: str | None = None
    started: str | None = None
    tunnel: str | None = None
    """`open`, `reconnecting`, `waiting` or `closed`; None for a login."""
    local_port: int | None = None
    url: str | None = None
    plain_url: str | None = None
    extra_ports: dict[int, int] = {}
    login: dict[str, Any] | None = None
    login_required: str | None = None
    certificate_sha256: str | None = None
    job: int | None = None
    job_state: str | None = None
    job_description: str | None = None
    job_age_s: int | None = None
    job_seconds_left: int | None = None
    certificate_expires: str | None = None


def status(settings: Settings) -> None:
    """Print every session as text."""
    states = _states(settings)
    if not states:
        print_step("status", "no session")
        if sandbox_runs():
            print_detail(f"the sandbox is running: {command('sandbox.stop')} stops it")
    for state in states:
        application = f"jupyter {state.application} in {state.directory}" if state.application else "jupyter"
        phase = "queued" if state.job_state == "queued" else state.server
        print_step(f"{state.user}@{state.host}", f"{application}: {phase}")
        if state.server == "unreachable" and state.gateway == SANDBOX and not sandbox_runs():
            print_detail(f"the sandbox is not running: {command('up')} starts it")
        last_known = "last known: " if state.server == "unreachable" else ""
        port = state.remote_port or "not known yet"
        process = f"port {port}, process {state.pid}, " if state.pid else ""
        if state.started:
            print_detail(f"{last_known}{process}started {state.started}")
        if state.job_state:
            print_detail(_describe_job(state))
        elif state.job:
            print_detail(f"last known: job {state.job}")
        if state.tunnel == "waiting":
            event = "the server is ready" if state.job_state == "running" else "the job starts"
            print_detail(f"the tunnel opens when {event}: {state.url}")
        else:
            print_detail(f"tunnel {state.tunnel}{' ' + state.url if state.url else ''}")
        if state.plain_url:
            print_detail(f"without TLS: {state.plain_url}")
        if state.login_required:
            remedy = (
                f"{command('serve')} starts it again"
                if state.server == "stopped" and state.job_state != "queued"
                else f"{command('tunnel')} logs in again"
            )
            if state.tunnel == "waiting":
                remedy = f"{command('tunnel --detach')} logs in again"
            print_detail(f"waiting for you: {state.login_required}; {remedy}")
        for remote, local in state.extra_ports.items():
            print_detail(f"localhost:{local} forwards to {state.host}:{remote}")
        if state.certificate_expires:
            print_detail(f"certificate valid until {state.certificate_expires[:10]}")
    for held_login in held_logins():
        print_step("login", f"held on {' and '.join(held_login.hops)}")
        print_detail(describe(held_login))


def _describe_job(state: Entry) -> str:
    left_s = state.job_seconds_left
    left = f", {describe_duration(left_s)} left" if left_s else ""
    separator = ": " if state.job_state == "queued" else " "
    label = f"job {state.job}" if state.job else "the job"
    age = f" ({state.job_age_s} s ago)" if state.job_age_s else ""
    return f"{label}{separator}{state.job_description}{left}{age}"


def status_as_json(settings: Settings) -> None:
    """Print every session as a JSON list, and then every login that none of them has."""
    sessions_ = _states(settings)
    session_pids = {entry.login["pid"] for entry in sessions_ if entry.login}
    logins = [Entry(login=_login(held)) for held in held_logins() if held.pid not in session_pids]
    print_json([msgspec.structs.asdict(entry) for entry in (*sessions_, *logins)])


def print_editor_urls() -> None:
    """Print what an editor needs to connect: the plain address with its token, or the address and the fingerprint.

    Raises TaskError if no tunnel is open.
    """
    tunnels = [(session, sessions.get_tunnel(session)) for session in sessions.list_sessions()]
    for session, tunnel in tunnels:
        if tunnel:
            if url := plain_address.url_with_token(session, tunnel):
                print_step(session.host, url)
                print_detail("VS Code: Select Kernel, Existing Jupyter Server, this URL")
                print_detail("PyCharm: Tools, Add Jupyter Connection, this URL")
                print_detail("whoever has this URL can use the server until the tunnel is closed")
            else:
                print_step(session.host, tunnel.url)
                print_detail(f"certificate SHA-256: {certificate.parse(session.certificate_pem).sha256}")
                print_detail(
                    f"for editors that refuse this certificate: {command('tunnel --detach --plain')} adds an address "
                    "without TLS"
                )
    if not any(tunnel for _, tunnel in tunnels):
        raise TaskError("no tunnel is open", hint=f"{command('up --detach --plain')} opens one")


def _warn_damaged_records() -> None:
    for path in sessions.damaged_records():
        warn(f"{path} is not a valid session record, so it is not shown: move it away")


def _states(settings: Settings) -> list[Entry]:
    _warn_damaged_records()
    records = sessions.list_records()
    return [
        _state(session, state) for session, state in zip(records, _query_all(records, settings), strict=True)
    ]


def _state(session: AnySession, state: SessionState) -> Entry:
    server_state, job, login = state
    known_job = session.job or (job and job.job)
    tunnel = sessions.get_tunnel(session)
    # Prefer the host's own record: this machine has none of a start that was interrupted or made from another machine.
    source: Any = server_state if server_state and server_state.running else session
    cert = _certificate(getattr(source, "certificate_pem", None))
    stopped = is_without_machine(job) or (server_state is not None and not server_state.running)
    reachable = server_state is not None or (job is not None and isinstance(session, Session))
    return Entry(
        host=session.host,
        user=session.user,
        gateway=session.gateway,
        server="stopped" if stopped else "running" if reachable else "unreachable",
        pid=None if stopped else getattr(source, "pid", None),
        remote_port=None if stopped else getattr(source, "port", getattr(source, "remote_port", None)),
        application=getattr(source, "application", None),
        directory=getattr(source, "directory", None),
        started=getattr(source, "started", None),
        tunnel=tunnel.state if tunnel else "closed",
        local_port=tunnel.local_port if tunnel else None,
        url=tunnel.url if tunnel else None,
        plain_url=plain_address.base_url(tunnel) if tunnel else None,
        extra_ports=tunnel.extra_ports if tunnel else {},
        login=None if login is None else _login(login),
        login_required=tunnel.login_required or None if tunnel else None,
        certificate_sha256=cert.sha256 if cert else None,
        job=known_job.id if known_job else None,
        job_state=job.phase if job else None,
        job_description=job.description if job else None,
        job_age_s=job.age_s if job else None,
        job_seconds_left=job.seconds_left if job and job.phase == "running" else None,
        certificate_expires=cert.expires.isoformat() if cert else None,
    )


def _login(held_login: HeldLogin) -> dict[str, Any]:
    return {
        "hops": list(held_login.hops),
        "since": _iso(held_login.since),
        "until": None if held_login.until is None else _iso(held_login.until),
        "tunnel": held_login.tunnel or None,
        "pid": held_login.pid,
    }


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def _certificate(pem: str | None) -> certificate.Certificate | None:
    try:
        return certificate.parse(pem) if pem else None
    except RemoteError:
        return None


def _query_all(records: Sequence[AnySession], settings: Settings) -> list[SessionState]:
    """The state of each session's server. Queries all hosts at the same time."""
    default = type(settings.timeouts)().connect
    timeout = REPLY_TIMEOUT_S if settings.timeouts.connect == default else settings.timeouts.connect
    settings = msgspec.structs.replace(
        settings, timeouts=msgspec.structs.replace(settings.timeouts, connect=timeout)
    )
    deadline = time.monotonic() + timeout
    queries = [_StatusQuery(session, settings) for session in records]
    for query in queries:
        query.start()
    for query in queries:
        query.join(max(0.0, deadline - time.monotonic()))
    for query in queries:
        if query.error is not None:
            raise query.error
    return [query.state for query in queries]


class _StatusQuery(threading.Thread):
    """Queries one host in a daemon thread, because DNS or a connection may block for longer than the timeout."""

    def __init__(self, session: AnySession, settings: Settings) -> None:
        super().__init__(name=f"status of {session.host}", daemon=True)
        self._session = session
        self._settings = settings
        self.state = SessionState(None)
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.state = _query_host(self._session, self._settings)
        except Exception as error:  # noqa: BLE001 # raised again by the thread that joins this one
            self.error = error


def _query_host(session: AnySession, settings: Settings) -> SessionState:
    """The state of the session's server, as far as its host can be reached."""
    credentials = CredentialPrompter(NullPrompter())
    job: JobState | None = None
    login: Connection | None = None
    server_state: server.ServerState | None = None
    with contextlib.suppress(UserError):
        login = connect_to_login_of(session, settings, credentials)
        job = run_query(login, partial(job_state, session, login, MAX_JOB_AGE_S))
        if not is_without_machine(job) and (job is None or not isinstance(session, Session)):
            server_state = server.get_state(connect_to_session(session, settings, credentials))
    return SessionState(server_state, job, login and getattr(login.transport, "held_login", None))
