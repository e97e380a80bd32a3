"""tunnel: a local port that leads to the server of the session, through the gateway, until Ctrl-C."""

import logging
import os
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import Failed, Terminated
from notebooks_over_ssh.jupyter import certificate
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter import urls as pages
from notebooks_over_ssh.jupyter.session import PendingSession, Session, Tunnel
from notebooks_over_ssh.ssh.prompting import Asking
from notebooks_over_ssh.tasks.start_sandbox import start_if_needed
from notebooks_over_ssh.terminal import more, say, status_line, step, working
from notebooks_over_ssh.tunnel import daemon as detached
from notebooks_over_ssh.tunnel import listen
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.tunnel.events import Lost, News
from notebooks_over_ssh.tunnel.supervisor import Lifeline
from notebooks_over_ssh.util.command_hint import command

_log = logging.getLogger(__name__)


def session_for_tunnel(settings: Settings) -> Session:
    """The session that the user means. Raises Failed when there is none."""
    session = sessions.find_by_record(settings)
    if session is None:
        where = settings.place().host
        raise Failed(
            f"no server of yours is known on {where}",
            hint=f"{command('serve')} starts one, or finds the one that runs",
        )
    if isinstance(session, PendingSession):
        raise Failed(
            f"the start of a server on {session.host} was interrupted",
            hint=f"{command('serve')} finds it, or starts it again",
        )
    return session


def open_in_background(
    session: Session, settings: Settings, asking: Asking, old_port: int | None = None
) -> None:
    """Leave a tunnel that outlives this command; returns when it is ready. Raises a Problem.

    `old_port` is where one was open until now: where none was asked for, the address stays.
    """
    start_if_needed(session.gateway)
    started = time.monotonic()
    tunnel = tunnels.open_to_the_server(session, settings)
    if tunnel is None:
        old_port = _in_place_of_another(session, settings) or old_port
        with working("tunnel", f"forwarding to {session.host}"):
            tunnel = detached.open_tunnel(session, settings, asking, old_port)
    _ready(session, tunnel, settings, started)


@contextmanager
def opened(session: Session, settings: Settings, asking: Asking) -> Iterator[Lifeline | None]:
    """Hold a tunnel while the body runs; None when another process holds one already. Raises a Problem."""
    start_if_needed(session.gateway)
    started = time.monotonic()
    with ExitStack() as stack:
        held: Lifeline | None = None
        tunnel = tunnels.open_to_the_server(session, settings)
        if tunnel is None:
            old_port = _in_place_of_another(session, settings)
            try:
                with working("tunnel", f"forwarding to {session.host}"):
                    held = stack.enter_context(tunnels.held(session, settings, asking, old_port))
                tunnel = held.tunnel
            except tunnels.AlreadyOpen as other:
                tunnel = other.tunnel
        _ready(session, tunnel, settings, started)
        yield held


def until_closed(held: Lifeline | None, asking: Asking) -> bool:
    """Keep the tunnel alive until Ctrl-C or SIGTERM; returns whether it was Ctrl-C. Raises a Problem.

    Another command closes the tunnel with SIGTERM: `stop`, or the one that puts another tunnel in its place.
    """
    if held is None:
        return False
    try:
        more("ctrl-c closes the tunnel")
        held.hold(asking, _tell)
    except Terminated:
        step("tunnel", f"closed by another command; {command('status')} shows what still runs")
        return False
    except KeyboardInterrupt:
        say("")
        step("tunnel", "closed")
    return True


def _tell(news: News) -> None:
    _log.debug("%s", news)
    (status_line if isinstance(news, Lost) else step)("tunnel", str(news))


def _in_place_of_another(session: Session, settings: Settings) -> int | None:
    """End a tunnel that leads elsewhere; returns its port, so that the address can stay."""
    tunnel = sessions.tunnel_of(session)
    if tunnel is None:
        return None
    port = settings.notebook.local_port
    if port not in (None, tunnel.local_port):
        listen(port).close()  # one that is taken is refused while the old tunnel is still open
        step("tunnel", f"moves from port {tunnel.local_port} to {port}")
    tunnels.end(session)
    return tunnel.local_port


def _ready(session: Session, tunnel: Tunnel, settings: Settings, started: float) -> None:
    step("tunnel", f"localhost:{tunnel.local_port} leads to {session.host}:{session.remote_port}", started)
    for remote, local in tunnel.extra_ports.items():
        more(f"localhost:{local} leads to {session.host}:{remote}")
    if tunnel.forwarding_refusal:
        more(
            f"{session.host} forbids forwarding ({tunnel.forwarding_refusal}): a program there carries the connections"
        )
    page = pages.url_of(settings.notebook.open, session, tunnel)
    step("ready", page)
    more(f"its certificate has SHA-256 {certificate.parse(session.certificate_pem).sha256}")
    if settings.notebook.open_browser and _has_a_display():
        webbrowser.open(page)


def _has_a_display() -> bool:
    """Whether a browser window can appear here: a browser in the terminal would take it over."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
