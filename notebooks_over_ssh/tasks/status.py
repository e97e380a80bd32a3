"""status: every session - its server, its tunnel, its certificate."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import Failed, Problem, RemoteFailed
from notebooks_over_ssh.jupyter import certificate, server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import SANDBOX, reach_session, sandbox_runs
from notebooks_over_ssh.jupyter.session import AnySession
from notebooks_over_ssh.ssh.prompting import Asking, Nobody
from notebooks_over_ssh.terminal import more, say_json, step, warn
from notebooks_over_ssh.util.command_hint import command

# All hosts together, as long as -t gives no other time: somebody looks, and a tunnel keeps its own watch.
ANSWER_TIMEOUT = 6  # seconds


def status(settings: Settings) -> None:
    """Print every session, for a person to read."""
    found = _states(settings)
    if not found:
        step("status", "no session")
        if sandbox_runs():
            more(f"the sandbox runs: {command('sandbox.stop')} ends it")
    for state in found:
        what = (
            f"jupyter {state['application']} in {state['directory']}" if state["application"] else "jupyter"
        )
        step(f"{state['user']}@{state['host']}", f"{what}: {state['server']}")
        if state["server"] == "unreachable" and state["gateway"] == SANDBOX and not sandbox_runs():
            more(f"the sandbox is not running: {command('up')} starts it")
        last_known = "last known: " if state["server"] == "unreachable" else ""
        port = state["remote_port"] or "not known yet"
        where = f"port {port}, process {state['pid']}, " if state["pid"] else ""
        if state["started"]:
            more(f"{last_known}{where}started {state['started']}")
        more(f"tunnel {state['tunnel']}{'  ' + state['url'] if state['url'] else ''}")
        if state["login_required"]:
            what = (
                f"{command('serve')} starts it again"
                if state["server"] == "stopped"
                else f"{command('tunnel')} logs in again"
            )
            more(f"it waits for you: {state['login_required']}; {what}")
        for remote, local in state["extra_ports"].items():
            more(f"localhost:{local} leads to {state['host']}:{remote}")
        if state["certificate_expires"]:
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
        raise Failed("no tunnel is open", hint=f"{command('up --detach')} opens one")


def _warn_of_damaged_records() -> None:
    for path in sessions.damaged_records():
        warn(f"{path} cannot be read as the record of a session, and is left out: move it away")


def _states(settings: Settings) -> list[dict[str, Any]]:
    _warn_of_damaged_records()
    known = sessions.every_record()
    return [
        _state(session, found) for session, found in zip(known, _look_at_all(known, settings), strict=True)
    ]


def _state(session: AnySession, found: server.State | None) -> dict[str, Any]:
    tunnel = sessions.tunnel_of(session)
    # The host knows better: a start that was interrupted, or done from another machine, is not on record here.
    known: Any = found if found and found.running else session
    shown = _certificate(getattr(known, "certificate_pem", None))
    stopped = found is not None and not found.running
    return {
        "host": session.host,
        "user": session.user,
        "gateway": session.gateway,
        "server": "unreachable" if found is None else "stopped" if stopped else "running",
        "pid": None if stopped else getattr(known, "pid", None),
        "remote_port": None if stopped else getattr(known, "port", getattr(known, "remote_port", None)),
        "application": getattr(known, "application", None),
        "directory": getattr(known, "directory", None),
        "started": getattr(known, "started", None),
        "tunnel": tunnel.state if tunnel else "closed",
        "local_port": tunnel.local_port if tunnel else None,
        "url": tunnel.url if tunnel else None,
        "extra_ports": tunnel.extra_ports if tunnel else {},
        "login_required": tunnel.waits_for_you or None if tunnel else None,
        "certificate_sha256": shown.sha256 if shown else None,
        "certificate_expires": shown.expires.isoformat() if shown else None,
    }


def _certificate(pem: str | None) -> certificate.Certificate | None:
    try:
        return certificate.parse(pem) if pem else None
    except RemoteFailed:
        return None


def _look_at_all(known: Sequence[AnySession], settings: Settings) -> list[server.State | None]:
    """What each session's host says of its server; they are asked side by side, and one that stays silent says None."""
    default = type(settings.timeouts)().connect
    timeout = ANSWER_TIMEOUT if settings.timeouts.connect == default else settings.timeouts.connect
    settings = msgspec.structs.replace(
        settings, timeouts=msgspec.structs.replace(settings.timeouts, connect=timeout)
    )
    deadline = time.monotonic() + timeout
    inquiries = [_Inquiry(session, settings) for session in known]
    for inquiry in inquiries:
        inquiry.start()
    for inquiry in inquiries:
        inquiry.join(max(0.0, deadline - time.monotonic()))
    for inquiry in inquiries:
        if inquiry.error is not None:
            raise inquiry.error
    return [inquiry.found for inquiry in inquiries]


class _Inquiry(threading.Thread):
    """Asks one host; a daemon, as looking up a name or a silent network may take longer than anybody waits."""

    def __init__(self, session: AnySession, settings: Settings) -> None:
        super().__init__(name=f"status of {session.host}", daemon=True)
        self._session = session
        self._settings = settings
        self.found: server.State | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.found = _look(self._session, self._settings)
        except Exception as error:  # noqa: BLE001 # it is raised where it is waited for
            self.error = error


def _look(session: AnySession, settings: Settings) -> server.State | None:
    """What the session's host says of its server; None where it cannot be asked."""
    try:
        return server.state(reach_session(session, settings, Asking(Nobody())))
    except Problem:
        return None
