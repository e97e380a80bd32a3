"""status: every session - its server, its tunnel, its certificate."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from fabfile.errors import Failed, Problem
from fabfile.notebooks import certificate, server
from fabfile.notebooks import session as sessions
from fabfile.notebooks.reach import reach_session
from fabfile.notebooks.session import Session
from fabfile.settings import Settings
from fabfile.ssh.asking import Asking, Nobody
from fabfile.ssh.connection import SANDBOX
from fabfile.terminal import more, say_json, step

# All hosts together, as long as -t gives no other time: somebody looks, and a tunnel keeps its own watch.
ANSWER_TIMEOUT = 6  # seconds


def status(settings: Settings) -> None:
    """Print every session, for a person to read."""
    found = _states(settings)
    if not found:
        step("status", "no session")
    for state in found:
        step(state["host"], f"jupyter {state['application']} in {state['directory']}: {state['server']}")
        last_known = "last known: " if state["server"] == "unreachable" else ""
        more(f"{last_known}port {state['remote_port']}, process {state['pid']}, since {state['started']}")
        more(f"tunnel {state['tunnel']}{'  ' + state['url'] if state['url'] else ''}")
        if state["tunnel_waits_for_you"]:
            more(f"it waits for you: {state['tunnel_waits_for_you']}; tunnel logs in again")
        for remote, local in state["also"].items():
            more(f"localhost:{local} leads to {state['host']}:{remote}")
        more(f"certificate good until {state['certificate_expires'][:10]}")


def status_as_json(settings: Settings) -> None:
    """Print every session, as a list of objects for a program to read."""
    say_json(_states(settings))


def for_editors() -> None:
    """Print what an editor that can use an existing Jupyter server asks for. Raises Failed where no tunnel is open."""
    tunnels = [(session, sessions.tunnel_of(session)) for session in sessions.every_session()]
    for session, tunnel in tunnels:
        if tunnel:
            step(session.host, tunnel.url)
            more("VS Code: Select Kernel, Existing Jupyter Server, this URL, then the password")
            more("PyCharm: Tools, Add Jupyter Connection, this URL")
            more("an editor that asks about the certificate must show this SHA-256:")
            more(certificate.parse(session.certificate_pem).sha256)
    if not any(tunnel for _, tunnel in tunnels):
        raise Failed("no tunnel is open", hint="open one with: up --detach")


def _states(settings: Settings) -> list[dict[str, Any]]:
    found = sessions.every_session()
    return [_state(session, server) for session, server in zip(found, _servers(found, settings), strict=True)]


def _state(session: Session, running: str) -> dict[str, Any]:
    tunnel = sessions.tunnel_of(session)
    shown = certificate.parse(session.certificate_pem)
    return {
        "host": session.host,
        "user": session.user,
        "gateway": session.gateway,
        "server": running,
        "pid": None if running == "stopped" else session.pid,
        "remote_port": None if running == "stopped" else session.remote_port,
        "application": session.application,
        "directory": session.directory,
        "started": session.started,
        "tunnel": tunnel.state if tunnel else "closed",
        "local_port": tunnel.local_port if tunnel else None,
        "url": tunnel.url if tunnel else None,
        "also": tunnel.also if tunnel else {},
        "tunnel_waits_for_you": tunnel.waits_for_you or None if tunnel else None,
        "certificate_sha256": shown.sha256,
        "certificate_expires": shown.expires.isoformat(),
    }


def _servers(found: Sequence[Session], settings: Settings) -> list[str]:
    """What each session's server does; hosts are asked side by side, and one that is silent is "unreachable" in the end."""
    default = type(settings.timeouts)().connect
    timeout = ANSWER_TIMEOUT if settings.timeouts.connect == default else settings.timeouts.connect
    settings = msgspec.structs.replace(
        settings, timeouts=msgspec.structs.replace(settings.timeouts, connect=timeout)
    )
    deadline = time.monotonic() + timeout
    inquiries = [_Inquiry(session, settings) for session in found]
    for inquiry in inquiries:
        inquiry.start()
    for inquiry in inquiries:
        inquiry.join(max(0.0, deadline - time.monotonic()))
    for inquiry in inquiries:
        if inquiry.error is not None:
            raise inquiry.error
    return [inquiry.server for inquiry in inquiries]


class _Inquiry(threading.Thread):
    """Asks one host; a daemon, as looking up a name or a silent network may take longer than anybody waits."""

    def __init__(self, session: Session, settings: Settings) -> None:
        super().__init__(name=f"status of {session.host}", daemon=True)
        self._session = session
        self._settings = settings
        self.server = "unreachable"
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.server = _server(self._session, self._settings)
        except Exception as error:  # noqa: BLE001 # it is raised where it is waited for
            self.error = error


def _server(session: Session, settings: Settings) -> str:
    if session.gateway == SANDBOX and not _sandbox_runs():
        return "unreachable"
    try:
        state = server.state(reach_session(session, settings, Asking(Nobody())))
    except Problem:
        return "unreachable"
    same = state.running and (state.pid, state.process_start) == (session.pid, session.process_start)
    return "running" if same else "stopped"


def _sandbox_runs() -> bool:
    # To look must not start it.
    from fabfile import sandbox

    return sandbox.running() is not None
