"""serve: start the Jupyter server on the host, or find the running one."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from notebooks_over_ssh.errors import RemoteError, TaskError, Terminated
from notebooks_over_ssh.jupyter import server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import connect_to_login
from notebooks_over_ssh.jupyter.remote_result import RemoteScriptError
from notebooks_over_ssh.jupyter.session import AnySession, Session
from notebooks_over_ssh.launchers.base import Launched, NotStartedError
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.remote_files import has_program
from notebooks_over_ssh.tasks.run import Run
from notebooks_over_ssh.tasks.start_record import StartRecord, keep_or_cancel
from notebooks_over_ssh.tasks.start_sandbox import start_if_needed
from notebooks_over_ssh.tasks.trust import remove_replaced
from notebooks_over_ssh.terminal import print_step, progress, warn
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.util.command_hint import command
from notebooks_over_ssh.util.generator_result import WithResult

STALE_CREDENTIALS_WARNING = "the running server uses an older password or certificate until it is restarted"


def serve(
    run: Run, queue_timeout_s: float = math.inf, running: server.StartedServer | None = None
) -> Session:
    """Start the server, or find the running one; record its session and print where it runs.

    `running` is the server that `secure` has just found, so that the host is not asked again. Even after an interrupt,
    the record has every server that may be running. Raises a UserError, and StillQueuedError if the server's job is
    queued for longer than `queue_timeout_s`.
    """
    start_time = time.monotonic()
    settings = run.settings
    old_session = sessions.find(settings)
    run = run.with_settings(sessions.with_launcher(settings, old_session))
    settings = run.settings
    start_if_needed(settings.gateway)
    with progress("serve", f"starting jupyter {settings.notebook.application}"):
        login = connect_to_login(settings, run.credentials)
        still_running = running and server.find(login, running, settings)
        running, launched = still_running or _start(login, run, old_session, queue_timeout_s)
    session = server.make_session(running, launched, login, settings)
    try:
        sessions.save(session)
    except TaskError as error:
        raise TaskError(
            f"the server is running on {session.host}, but {error}",
            hint=f"{error.hint}; then run {command('serve')} again",
        ) from error
    with report_running_on_interrupt(session):
        _remove_duplicates(session)
        if isinstance(old_session, Session) and old_session.certificate_pem != session.certificate_pem:
            remove_replaced("serve", old_session.certificate_pem, session.certificate_pem)
        if running.already_running and running.application != settings.notebook.application:
            warn(
                f"the running server is jupyter {running.application}, not {settings.notebook.application}: "
                f"to change that, stop it first with {command('stop')}"
            )
        if not running.writable:
            warn(
                f"you have no write permission for {running.directory} on {session.host}: "
                "notebooks in it cannot be saved"
            )
        if running.has_stale_credentials:
            warn(f"{STALE_CREDENTIALS_WARNING}: {command('secure --restart')} restarts it")
        verb = "is already running" if running.already_running else "is running"
        print_step(
            "serve",
            f"jupyter {running.application} {running.version} {verb} on {session.host}, port {session.remote_port}"
            f" (process {session.pid})",
            start_time,
        )
    return session


@contextmanager
def report_running_on_interrupt(session: Session) -> Iterator[None]:
    """On Ctrl-C in the body, warn that the server, and a tunnel that is open, keep running."""
    try:
        yield
    except KeyboardInterrupt:
        tunnel = sessions.get_tunnel(session)
        also = f" and the tunnel on port {tunnel.local_port} keep" if tunnel else " keeps"
        warn(
            f"the server on {session.host}{also} running: "
            f"{command('status')} shows what is running, {command('stop')} stops it"
        )
        raise


def _start(
    login: Connection, run: Run, old_session: AnySession | None, queue_timeout_s: float
) -> tuple[server.StartedServer, Launched]:
    """Start or find the server."""
    record = StartRecord(login, run, old_session, queue_timeout_s)
    try:
        start = WithResult(server.start(login, run.settings, record.before_start))
        for event in start:
            record.show(event)
        return start.result
    except NotStartedError:
        if record.pending:
            sessions.delete_pending(record.pending)
        raise
    except RemoteScriptError as error:
        # A server may be running after these two: it did not answer in time, or its port could not be recorded.
        if record.pending and error.problem not in ("no-answer", "system-error"):
            sessions.delete_pending(record.pending)
        raise _with_suggestions(error, login) from error
    except KeyboardInterrupt as interrupt:
        if record.session and record.queued:
            keep_or_cancel(record.session, record.queued, run, may_ask=not isinstance(interrupt, Terminated))
        elif record.pending:
            job = record.pending.job
            where = f"in job {job.id}" if job else f"on {record.pending.host}"
            warn(
                f"the server {where} may be running: {command('status')} shows it, "
                f"{command('serve')} finds it, {command('stop')} stops it"
            )
        raise


def _remove_duplicates(session: Session) -> None:
    """Remove other records of the same server, and close their tunnels. Raises TaskError."""
    for duplicate in find_duplicates(session):
        tunnels.terminate(duplicate)
        sessions.delete(duplicate)


def find_duplicates(session: Session) -> list[Session]:
    """Other records of the same server, from before its host got a new host key."""

    def server(record: Session) -> tuple[object, ...]:
        return record.host, record.user, record.pid, record.process_start, record.certificate_pem

    return [
        other
        for other in sessions.list_sessions()
        if other.name != session.name and server(other) == server(session)
    ]


def _with_suggestions(error: RemoteScriptError, connection: Connection) -> RemoteError:
    """The error, with what the host has instead of what is missing."""
    suggestion = ""
    if error.problem in ("jupyter-missing", "application-missing") and has_program(connection, "jupyter"):
        suggestion = "; there is a jupyter outside of it"
    return RemoteError(f"{error}{suggestion}", hint=error.hint, detail=error.detail, source=error.source)
