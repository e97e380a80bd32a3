"""status: every session - its server, its tunnel, its certificate."""

import json
from typing import Any

from fabfile.errors import Failed, Problem
from fabfile.notebooks import certificate, server
from fabfile.notebooks import session as sessions
from fabfile.notebooks.reach import reach_session
from fabfile.notebooks.session import Session
from fabfile.settings import Settings
from fabfile.ssh.asking import Asking, Nobody
from fabfile.ssh.connection import SANDBOX
from fabfile.terminal import more, say, step


def status(settings: Settings) -> None:
    """Print every session, for a person to read."""
    found = [_state(session, settings) for session in sessions.every_session()]
    if not found:
        step("status", "no session")
    for state in found:
        step(state["host"], f"jupyter {state['application']} in {state['directory']}: {state['server']}")
        more(f"port {state['remote_port']}, process {state['pid']}, since {state['started']}")
        more(f"tunnel {state['tunnel']}{'  ' + state['url'] if state['url'] else ''}")
        if state["tunnel_waits_for_you"]:
            more(f"it waits for you: {state['tunnel_waits_for_you']}; tunnel logs in again")
        for remote, local in state["also"].items():
            more(f"localhost:{local} leads to {state['host']}:{remote}")
        more(f"certificate good until {state['certificate_expires'][:10]}")


def status_as_json(settings: Settings) -> None:
    """Print every session, as a list of objects for a program to read."""
    say(json.dumps([_state(session, settings) for session in sessions.every_session()], indent=2))


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


def _state(session: Session, settings: Settings) -> dict[str, Any]:
    tunnel = sessions.tunnel_of(session)
    shown = certificate.parse(session.certificate_pem)
    running = _server(session, settings)
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
