"""serve: start the Jupyter server on the host, or find the running one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import RemoteError, TaskError
from notebooks_over_ssh.jupyter import server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import connect
from notebooks_over_ssh.jupyter.remote_result import RemoteScriptError
from notebooks_over_ssh.jupyter.session import PendingSession, Session
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.remote_files import has_program
from notebooks_over_ssh.tasks.run import Run
from notebooks_over_ssh.tasks.start_sandbox import start_if_needed
from notebooks_over_ssh.terminal import print_step, progress, warn
from notebooks_over_ssh.trust_stores import manager
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.util.command_hint import command


def serve(run: Run) -> Session:
    """Start the server, or find the running one; record its session and print where it runs.

    A server that runs, or may run, is on record even if this is interrupted. Raises a UserError.
    """
    start_time = time.monotonic()
    settings = run.settings
    old_session = sessions.find(settings)
    start_if_needed(settings.gateway)
    with progress("serve", f"starting jupyter {settings.notebook.application}"):
        connection = connect(settings, run.credentials)
        running = _start(connection, settings)
    session = server.make_session(running, connection, settings)
    try:
        sessions.save(session)
    except TaskError as error:
        raise TaskError(
            f"the server runs on {session.host}, but {error}",
            hint=f"{error.hint}; then run {command('serve')} again",
        ) from error
    with goes_on_after_interrupt(session):
        for duplicate in sessions.find_duplicates(session):
            tunnels.terminate(duplicate)
            sessions.delete(duplicate)
        if isinstance(old_session, Session) and old_session.certificate_pem != session.certificate_pem:
            _remove_replaced_trust(old_session.certificate_pem, session.certificate_pem)
        if running.already_running and running.application != settings.notebook.application:
            warn(
                f"the server that runs is jupyter {running.application}, not {settings.notebook.application}: "
                f"{command('stop')} it first to change that"
            )
        if not running.writable:
            warn(
                f"{running.directory} on {session.host} is read-only for you: notebooks in it cannot be saved"
            )
        if running.has_stale_credentials:
            warn(
                "the server that runs was started before the password or certificate was changed, and keeps the old ones: "
                f"{command('secure --restart')} changes that"
            )
        verb = "already runs" if running.already_running else "runs"
        print_step(
            "serve",
            f"jupyter {running.application} {running.version} {verb} on {session.host}, port {session.remote_port}"
            f" (process {session.pid})",
            start_time,
        )
    return session


@contextmanager
def goes_on_after_interrupt(session: Session) -> Iterator[None]:
    """If the body is interrupted, print that the server, and an open tunnel, keep running."""
    try:
        yield
    except KeyboardInterrupt:
        tunnel = sessions.get_tunnel(session)
        also = f" and the tunnel on port {tunnel.local_port} keep" if tunnel else " keeps"
        warn(f"the server on {session.host}{also} running: status shows what runs, stop ends it")
        raise


def _start(connection: Connection, settings: Settings) -> server.StartedServer:
    """Start or find the server. A pending session is on record until the result of a start is known."""
    pending: PendingSession | None = None

    def save_pending(host: str) -> None:
        nonlocal pending
        pending = server.make_pending_session(host, connection, settings)
        sessions.save_pending(pending)

    try:
        return server.start(connection, settings, save_pending)
    except RemoteScriptError as error:
        # After these two a server may run: one that did not answer in time, and one whose port could not be recorded.
        if pending and error.problem not in ("no-answer", "system-error"):
            sessions.delete_pending(pending)
        raise _with_suggestions(error, connection) from error
    except KeyboardInterrupt:
        if pending:
            warn(
                f"the server on {pending.host} may go on: {command('status')} shows it, {command('serve')} finds it, "
                f"{command('stop')} ends it"
            )
        raise


def _remove_replaced_trust(old_pem: str, new_pem: str) -> None:
    try:
        for store in manager.remove_replaced(old_pem, new_pem):
            print_step("serve", f"{store} trusts the certificate that was replaced no longer")
    except TaskError as error:
        warn(f"{error} ({error.hint})")


def _with_suggestions(error: RemoteScriptError, connection: Connection) -> RemoteError:
    """The failure, and what the host has in place of what was missing."""
    suffix = ""
    if error.problem in ("jupyter-missing", "application-missing") and has_program(connection, "jupyter"):
        suffix = "; there is a jupyter outside of it"
    return RemoteError(f"{error}{suffix}", hint=error.hint, detail=error.detail, source=error.source)
