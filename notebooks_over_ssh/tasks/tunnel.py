"""tunnel: a local port that leads to the server of the session, through the gateway, until Ctrl-C."""

import logging
import os
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import TaskError, Terminated
from notebooks_over_ssh.jupyter import certificate, urls
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import PendingSession, Session, Tunnel
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from notebooks_over_ssh.tasks.start_sandbox import start_if_needed
from notebooks_over_ssh.terminal import print_detail, print_line, print_progress, print_step, progress
from notebooks_over_ssh.tunnel import daemon, listen
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.tunnel.events import Disconnected
from notebooks_over_ssh.tunnel.supervisor import TunnelSupervisor
from notebooks_over_ssh.util.command_hint import command

_log = logging.getLogger(__name__)


def require_session(settings: Settings) -> Session:
    """The session that the user means. Raises TaskError when there is none."""
    session = sessions.find_any_gateway(settings)
    if session is None:
        where = settings.destination().host
        raise TaskError(
            f"no server of yours is known on {where}",
            hint=f"{command('serve')} starts one, or finds the one that runs",
        )
    if isinstance(session, PendingSession):
        raise TaskError(
            f"the start of a server on {session.host} was interrupted",
            hint=f"{command('serve')} finds it, or starts it again",
        )
    return session


def open_in_background(
    session: Session, settings: Settings, credentials: CredentialPrompter, preferred_port: int | None = None
) -> None:
    """Leave a tunnel that outlives this command; returns when it is ready. Raises a UserError.

    `preferred_port` is where one was open until now: where none was asked for, the address stays.
    """
    start_if_needed(session.gateway)
    start_time = time.monotonic()
    tunnel = tunnels.find_reusable(session, settings)
    if tunnel is None:
        preferred_port = _replace_existing(session, settings) or preferred_port
        with progress("tunnel", f"forwarding to {session.host}"):
            tunnel = daemon.spawn(session, settings, credentials, preferred_port)
    _announce(session, tunnel, settings, start_time)


@contextmanager
def open_tunnel(
    session: Session, settings: Settings, credentials: CredentialPrompter
) -> Iterator[TunnelSupervisor | None]:
    """Hold a tunnel while the body runs; None when another process holds one already. Raises a UserError."""
    start_if_needed(session.gateway)
    start_time = time.monotonic()
    with ExitStack() as stack:
        supervisor: TunnelSupervisor | None = None
        tunnel = tunnels.find_reusable(session, settings)
        if tunnel is None:
            preferred_port = _replace_existing(session, settings)
            try:
                with progress("tunnel", f"forwarding to {session.host}"):
                    supervisor = stack.enter_context(
                        tunnels.open_tunnel(session, settings, credentials, preferred_port)
                    )
                tunnel = supervisor.tunnel
            except tunnels.AlreadyOpen as other:
                tunnel = other.tunnel
        _announce(session, tunnel, settings, start_time)
        yield supervisor


def run_until_interrupted(supervisor: TunnelSupervisor | None, credentials: CredentialPrompter) -> bool:
    """Keep the tunnel alive until Ctrl-C or SIGTERM; returns whether it was Ctrl-C. Raises a UserError.

    Another command closes the tunnel with SIGTERM: `stop`, or the one that puts another tunnel in its place.
    """
    if supervisor is None:
        return False
    try:
        print_detail("ctrl-c closes the tunnel")
        for event in supervisor.run(credentials):
            _log.debug("%s", event)
            (print_progress if isinstance(event, Disconnected) else print_step)("tunnel", str(event))
    except Terminated:
        print_step("tunnel", f"closed by another command; {command('status')} shows what still runs")
        return False
    except KeyboardInterrupt:
        print_line("")
        print_step("tunnel", "closed")
    return True


def _replace_existing(session: Session, settings: Settings) -> int | None:
    """End a tunnel that leads elsewhere; returns its port, so that the address can stay."""
    tunnel = sessions.get_tunnel(session)
    if tunnel is None:
        return None
    port = settings.notebook.local_port
    if port not in (None, tunnel.local_port):
        listen(port).close()  # one that is taken is refused while the old tunnel is still open
        print_step("tunnel", f"moves from port {tunnel.local_port} to {port}")
    tunnels.terminate(session)
    return tunnel.local_port


def _announce(session: Session, tunnel: Tunnel, settings: Settings, start_time: float) -> None:
    print_step(
        "tunnel", f"localhost:{tunnel.local_port} leads to {session.host}:{session.remote_port}", start_time
    )
    for remote, local in tunnel.extra_ports.items():
        print_detail(f"localhost:{local} leads to {session.host}:{remote}")
    if tunnel.forwarding_refusal:
        print_detail(
            f"{session.host} forbids forwarding ({tunnel.forwarding_refusal}): a program there carries the connections"
        )
    url = urls.build_url(settings.notebook.open, session, tunnel)
    print_step("ready", url)
    print_detail(f"its certificate has SHA-256 {certificate.parse(session.certificate_pem).sha256}")
    if settings.notebook.open_browser and _has_a_display():
        webbrowser.open(url)


def _has_a_display() -> bool:
    """Whether a browser window can appear here: a browser in the terminal would take it over."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
