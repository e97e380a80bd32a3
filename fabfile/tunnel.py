"""tunnel: a local port that leads to the server of the session, through the gateway, until Ctrl-C."""

import os
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager

from fabfile import detached
from fabfile.errors import Failed
from fabfile.notebooks import certificate
from fabfile.notebooks import session as sessions
from fabfile.notebooks import tunnel as tunnels
from fabfile.notebooks.session import Session, Tunnel
from fabfile.settings import Settings
from fabfile.ssh.asking import Asking
from fabfile.ssh.forwarding import listen
from fabfile.terminal import say, step, working


def session_for_tunnel(settings: Settings) -> Session:
    """The session that the user means. Raises Failed when there is none."""
    session = sessions.find(settings)
    if session is None:
        where = settings.place().host
        raise Failed(
            f"no server of yours is known on {where}", hint="start it, or find the one that runs: serve"
        )
    return session


def open_in_background(session: Session, settings: Settings, asking: Asking) -> None:
    """Leave a tunnel that outlives this command; returns when it is ready. Raises a Problem."""
    started = time.monotonic()
    already = _already(session, settings)
    if already is None:
        with working("tunnel", f"forwarding to {session.host}"):
            already = detached.open_tunnel(session, settings, asking)
    _ready(session, already, settings, started)


@contextmanager
def opened(session: Session, settings: Settings, asking: Asking) -> Iterator[tunnels.Held | None]:
    """Hold a tunnel while the body runs; None when another process holds one already. Raises a Problem."""
    started = time.monotonic()
    already = _already(session, settings)
    if already is not None:
        _ready(session, already, settings, started)
        yield None
        return
    with working("tunnel", f"forwarding to {session.host}"):
        holding = tunnels.held(session, settings, asking)
        held = holding.__enter__()
    try:
        _ready(session, held.tunnel, settings, started)
        say("         ctrl-c closes the tunnel")
        yield held
    finally:
        holding.__exit__(None, None, None)


def until_closed(held: tunnels.Held | None) -> None:
    """Wait until Ctrl-C, or until `stop` ends the tunnel from elsewhere."""
    if held is None:
        return
    try:
        held.wait()
    except KeyboardInterrupt:
        say("")
        step("tunnel", "closed")


def _already(session: Session, settings: Settings) -> Tunnel | None:
    """The tunnel that is open for the session; one on another port than the one asked for makes room."""
    tunnel = sessions.tunnel_of(session)
    if tunnel is None or settings.notebook.local_port in (None, tunnel.local_port):
        return tunnel
    listen(
        settings.notebook.local_port
    ).close()  # one that is taken is refused while the old tunnel is still open
    tunnels.end(session)
    step("tunnel", f"moves from port {tunnel.local_port} to {settings.notebook.local_port}")
    return None


def _ready(session: Session, tunnel: Tunnel, settings: Settings, started: float) -> None:
    step("tunnel", f"localhost:{tunnel.local_port} leads to {session.host}:{session.remote_port}", started)
    step("ready", tunnel.url)
    say(f"         its certificate has SHA-256 {certificate.parse(session.certificate_pem).sha256}")
    if settings.notebook.open_browser and _has_a_display():
        webbrowser.open(tunnel.url)


def _has_a_display() -> bool:
    """Whether a browser window can appear here: a browser in the terminal would take it over."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
