"""tunnel: forward a local port to the session's server through the gateway, until Ctrl-C."""

import logging
import os
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import TaskError, Terminated
from notebooks_over_ssh.jupyter import certificate, plain_address, urls
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import AnySession, PendingSession, Session, Tunnel
from notebooks_over_ssh.tasks.run import Run
from notebooks_over_ssh.tasks.start_sandbox import start_if_needed
from notebooks_over_ssh.tasks.trust import try_trust
from notebooks_over_ssh.terminal import (
    is_terminal,
    print_detail,
    print_line,
    print_progress,
    print_step,
    progress,
)
from notebooks_over_ssh.tunnel import listen
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.tunnel.background_process import BackgroundProcess
from notebooks_over_ssh.tunnel.events import Disconnected, ServerAwaited, TunnelEvent
from notebooks_over_ssh.tunnel.supervisor import TunnelSupervisor
from notebooks_over_ssh.util.command_hint import command

_log = logging.getLogger(__name__)

PLAIN_COST = "when the tunnel is closed, any user of this machine can take the port and pose as your server"
"""What the plain port costs (docs/security.md)."""


def tunnel(run: Run, *, detach: bool) -> None:
    """Open the tunnel of the selected session, until Ctrl-C or in the background. Raises a UserError."""
    if detach and (pending := find_awaited(run.settings)):
        return wait_in_background(pending, run)
    session = require_session(run.settings)
    if run.settings.notebook.trust:
        try_trust(session)
    if detach:
        return open_in_background(session, run)
    with open_tunnel(session, run) as supervisor:
        run_until_interrupted(supervisor, run)


def find_awaited(settings: Settings) -> PendingSession | None:
    """The session that the settings select, if its job has no server on record yet."""
    session = sessions.find_any_gateway(settings)
    return session if isinstance(session, PendingSession) and session.job else None


def require_session(settings: Settings) -> Session:
    """The session that the settings select. Raises TaskError if there is none."""
    session = sessions.find_any_gateway(settings)
    if session is None:
        host = settings.destination().host
        raise TaskError(
            f"there is no session on {host}",
            hint=f"{command('serve')} starts a server, or finds the running one",
        )
    if isinstance(session, PendingSession) and session.job:
        raise TaskError(
            f"job {session.job.id} has no server on record yet",
            hint=f"{command('tunnel --detach')} waits for it in the background, {command('serve')} here",
        )
    if isinstance(session, PendingSession):
        raise TaskError(
            f"the start of a server on {session.host} was interrupted",
            hint=f"{command('serve')} finds it, or starts it again",
        )
    return session


@contextmanager
def background_login(run: Run, expected: Session | None = None) -> Iterator[BackgroundProcess]:
    """A background process that has logged in, for its tunnel and for this command. Raises a UserError.

    `expected` is as in BackgroundProcess.
    """
    start_if_needed(run.settings.gateway)
    with closing(BackgroundProcess()) as process:
        process.log_in(run.settings, run.credentials, expected)
        yield process


def open_in_background(
    session: Session, run: Run, preferred_port: int | None = None, process: BackgroundProcess | None = None
) -> None:
    """Open a tunnel in a background process, and return when it is open. Raises a UserError.

    `preferred_port` is the local port of an earlier tunnel, used again unless the settings name another one. Without a
    `process` one is started.
    """
    start_if_needed(session.gateway)
    start_time = time.monotonic()
    tunnel = tunnels.find_reusable(session, run.settings)
    if tunnel is None:
        with (
            progress("tunnel", f"forwarding to {session.host}"),
            closing(process or BackgroundProcess()) as opener,
        ):
            # First, because the login of that tunnel may end with it.
            preferred_port = _replace_existing(session, run.settings) or preferred_port
            opener.log_in(sessions.with_session(run.settings, session), run.credentials)
            tunnel = opener.open_tunnel(session, run.settings, preferred_port)
    _announce(session, tunnel, run.settings, start_time)
    print_detail(f"{command('stop')} closes the tunnel and stops the server")


def wait_in_background(session: PendingSession, run: Run, process: BackgroundProcess | None = None) -> None:
    """Have a background process wait for the session's job, and open the tunnel when that has a server.

    Raises a UserError.
    """
    assert session.job is not None  # for mypy: it is known before it can be queued
    with (
        progress("tunnel", f"logging in to {session.requested_host}"),
        closing(process or BackgroundProcess()) as opener,
    ):
        preferred_port = _replace_existing(session, run.settings)
        opener.log_in(sessions.with_session(run.settings, session), run.credentials)
        tunnel = opener.open_tunnel(session, run.settings, preferred_port)
    if tunnel.state == "open":
        print_step("tunnel", f"localhost:{tunnel.local_port} forwards to the server of job {session.job.id}")
    else:
        print_step("tunnel", f"opens when job {session.job.id} starts, in the background: {tunnel.url}")
    print_detail(f"{command('status')} shows both, {command('stop')} cancels the job")


@contextmanager
def open_tunnel(session: Session, run: Run) -> Iterator[TunnelSupervisor | None]:
    """Open a tunnel while the body runs; yields None if another process already has one. Raises a UserError."""
    start_if_needed(session.gateway)
    start_time = time.monotonic()
    with ExitStack() as stack:
        supervisor: TunnelSupervisor | None = None
        tunnel = tunnels.find_reusable(session, run.settings)
        if tunnel is None:
            preferred_port = _replace_existing(session, run.settings)
            try:
                with progress("tunnel", f"forwarding to {session.host}"):
                    supervisor = stack.enter_context(
                        tunnels.open_tunnel(session, run.settings, run.credentials, preferred_port)
                    )
                tunnel = supervisor.tunnel
            except tunnels.AlreadyOpen as other:
                tunnel = other.tunnel
        _announce(session, tunnel, run.settings, start_time)
        yield supervisor


def run_until_interrupted(supervisor: TunnelSupervisor | None, run: Run) -> bool:
    """Keep the tunnel open until Ctrl-C or SIGTERM; returns False after SIGTERM. Raises a UserError.

    SIGTERM comes from a command that closes the tunnel (`stop`) or replaces it.
    """
    if supervisor is None:
        return False
    try:
        print_detail("ctrl-c closes the tunnel")
        for event in supervisor.run(run.credentials):
            _log.debug("%s", event)
            _show(event)
    except Terminated:
        print_step("tunnel", f"closed by another command; {command('status')} shows what is still running")
        return False
    except KeyboardInterrupt:
        print_line("")
        print_step("tunnel", "closed")
    return True


def _show(event: TunnelEvent) -> None:
    match event:
        case Disconnected():
            print_progress("tunnel", str(event))
        case ServerAwaited(activity, is_news):
            if is_terminal() or is_news:
                print_progress("tunnel", activity)
        case _:
            print_step("tunnel", str(event))


def _replace_existing(session: AnySession, settings: Settings) -> int | None:
    """Close a tunnel that does not match the settings, and return its local port for the next one."""
    tunnel = sessions.get_tunnel(session)
    if tunnel is None:
        return None
    port = settings.notebook.local_port
    if port not in (None, tunnel.local_port):
        listen(port).close()  # fail on a port that is in use before the old tunnel is closed
        print_step("tunnel", f"moving from port {tunnel.local_port} to {port}")
    tunnels.terminate(session)
    return tunnel.local_port


def _announce(session: Session, tunnel: Tunnel, settings: Settings, start_time: float) -> None:
    print_step(
        "tunnel",
        f"localhost:{tunnel.local_port} forwards to {session.host}:{session.remote_port}",
        start_time,
    )
    for remote, local in tunnel.extra_ports.items():
        print_detail(f"localhost:{local} forwards to {session.host}:{remote}")
    if tunnel.forwarding_refusal:
        print_detail(
            f"{session.host} forbids forwarding ({tunnel.forwarding_refusal}): a program there relays the connections"
        )
    if plain_url := plain_address.base_url(tunnel):
        print_detail(f"without TLS: {plain_url}; {command('status --editors')} prints it with its token")
        print_detail(PLAIN_COST)
    url = urls.build_url(settings.notebook.open, session, tunnel)
    print_step("ready", url)
    print_detail(f"certificate SHA-256: {certificate.parse(session.certificate_pem).sha256}")
    if settings.notebook.open_browser and _has_display():
        webbrowser.open(url)


def _has_display() -> bool:
    """Whether a browser can open a window. Without one, webbrowser may start a text browser in the terminal."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
