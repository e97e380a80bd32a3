"""serve: the Jupyter server on the host, started or found."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import Failed, RemoteFailed
from notebooks_over_ssh.jupyter import server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import reach
from notebooks_over_ssh.jupyter.remote_result import Obstructed
from notebooks_over_ssh.jupyter.session import PendingSession, Session
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.prompting import Asking
from notebooks_over_ssh.ssh.remote_files import has_program
from notebooks_over_ssh.tasks.start_sandbox import start_if_needed
from notebooks_over_ssh.terminal import step, warn, working
from notebooks_over_ssh.trust_stores import manager as trusting
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.util.command_hint import command


def serve(settings: Settings, asking: Asking) -> Session:
    """Start the server, or find the one that runs; remember its session and say where it is.

    Whatever interrupts it, a server that runs, or may, is on record. Raises a Problem.
    """
    started = time.monotonic()
    before = sessions.find(settings)
    start_if_needed(settings.gateway)
    with working("serve", f"starting jupyter {settings.notebook.application}"):
        connection = reach(settings, asking)
        found = _start(connection, settings)
    session = server.session_of(found, connection, settings)
    try:
        sessions.remember(session)
    except Failed as problem:
        raise Failed(
            f"the server runs on {session.host}, but {problem}",
            hint=f"{problem.hint}; then run {command('serve')} again",
        ) from problem
    with goes_on_after_interrupt(session):
        for other in sessions.other_records(session):
            tunnels.end(other)
            sessions.forget(other)
        if isinstance(before, Session) and before.certificate_pem != session.certificate_pem:
            _trust_no_longer(before.certificate_pem, session.certificate_pem)
        if found.reused and found.application != settings.notebook.application:
            warn(
                f"the server that runs is jupyter {found.application}, not {settings.notebook.application}: "
                f"{command('stop')} it first to change that"
            )
        if not found.writable:
            warn(f"{found.directory} on {session.host} is read-only for you: notebooks in it cannot be saved")
        if found.outdated:
            warn(
                "the server that runs was started before the password or certificate was changed, and keeps the old ones: "
                f"{command('secure --restart')} changes that"
            )
        verb = "already runs" if found.reused else "runs"
        step(
            "serve",
            f"jupyter {found.application} {found.version} {verb} on {session.host}, port {session.remote_port}"
            f" (process {session.pid})",
            started,
        )
    return session


@contextmanager
def goes_on_after_interrupt(session: Session) -> Iterator[None]:
    """Where the body is interrupted, say that the session's server, and a tunnel that is open, keep running."""
    try:
        yield
    except KeyboardInterrupt:
        tunnel = sessions.tunnel_of(session)
        also = f" and the tunnel on port {tunnel.local_port} keep" if tunnel else " keeps"
        warn(f"the server on {session.host}{also} running: status shows what runs, stop ends it")
        raise


def _start(connection: Connection, settings: Settings) -> server.Started:
    """Have the server started or found. As long as it is not known what came of a start, a pending session is on record."""
    pending: PendingSession | None = None

    def record(host: str) -> None:
        nonlocal pending
        pending = server.pending_session(host, connection, settings)
        sessions.remember_pending(pending)

    try:
        return server.start(connection, settings, record)
    except Obstructed as obstructed:
        # After these two a server may run: one that did not answer in time, and one whose port could not be recorded.
        if pending and obstructed.problem not in ("no-answer", "system-error"):
            sessions.forget_pending(pending)
        raise _with_what_is_there(obstructed, connection) from obstructed
    except KeyboardInterrupt:
        if pending:
            warn(
                f"the server on {pending.host} may go on: {command('status')} shows it, {command('serve')} finds it, "
                f"{command('stop')} ends it"
            )
        raise


def _trust_no_longer(old_pem: str, new_pem: str) -> None:
    try:
        for store in trusting.drop_replaced(old_pem, new_pem):
            step("serve", f"{store} trusts the certificate that was replaced no longer")
    except Failed as problem:
        warn(f"{problem} ({problem.hint})")


def _with_what_is_there(obstructed: Obstructed, connection: Connection) -> RemoteFailed:
    """The failure, and what the host has in place of what was missing."""
    there = ""
    if obstructed.problem in ("jupyter-missing", "application-missing") and has_program(
        connection, "jupyter"
    ):
        there = "; there is a jupyter outside of it"
    return RemoteFailed(
        f"{obstructed}{there}", hint=obstructed.hint, detail=obstructed.detail, source=obstructed.source
    )
