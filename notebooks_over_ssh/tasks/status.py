"""status: show every session with its server, tunnel and certificate."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import RemoteError, TaskError, UserError
from notebooks_over_ssh.jupyter import certificate, server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import SANDBOX, connect_to_session, sandbox_runs
from notebooks_over_ssh.jupyter.session import AnySession
from notebooks_over_ssh.ssh.prompting import CredentialPrompter, NullPrompter
from notebooks_over_ssh.terminal import print_detail, print_json, print_step, warn
from notebooks_over_ssh.util.command_hint import command

# All hosts together, as long as -t gives no other time: somebody looks, and a tunnel keeps its own watch.
REPLY_TIMEOUT_S = 6  # seconds


def status(settings: Settings) -> None:
    """Print every session for the user."""
    states = _states(settings)
    if not states:
        print_step("status", "no session")
        if sandbox_runs():
            print_detail(f"the sandbox runs: {command('sandbox.stop')} ends it")
    for state in states:
        what = (
            f"jupyter {state['application']} in {state['directory']}" if state["application"] else "jupyter"
        )
        print_step(f"{state['user']}@{state['host']}", f"{what}: {state['server']}")
        if state["server"] == "unreachable" and state["gateway"] == SANDBOX and not sandbox_runs():
            print_detail(f"the sandbox is not running: {command('up')} starts it")
        last_known = "last known: " if state["server"] == "unreachable" else ""
        port = state["remote_port"] or "not known yet"
        where = f"port {port}, process {state['pid']}, " if state["pid"] else ""
        if state["started"]:
            print_detail(f"{last_known}{where}started {state['started']}")
        print_detail(f"tunnel {state['tunnel']}{'  ' + state['url'] if state['url'] else ''}")
        if state["login_required"]:
            what = (
                f"{command('serve')} starts it again"
                if state["server"] == "stopped"
                else f"{command('tunnel')} logs in again"
            )
            print_detail(f"it waits for you: {state['login_required']}; {what}")
        for remote, local in state["extra_ports"].items():
            print_detail(f"localhost:{local} forwards to {state['host']}:{remote}")
        if state["certificate_expires"]:
            print_detail(f"certificate good until {state['certificate_expires'][:10]}")


def status_as_json(settings: Settings) -> None:
    """Print every session as a JSON list."""
    print_json(_states(settings))


def print_editor_urls() -> None:
    """Print what an editor that can use an existing Jupyter server asks for. Raises TaskError where no tunnel is open."""
    tunnels = [(session, sessions.get_tunnel(session)) for session in sessions.list_sessions()]
    for session, tunnel in tunnels:
        if tunnel:
            print_step(session.host, tunnel.url)
            print_detail("VS Code: Select Kernel, Existing Jupyter Server, this URL, then the password")
            print_detail("PyCharm: Tools, Add Jupyter Connection, this URL")
            print_detail("an editor that asks about the certificate must show this SHA-256:")
            print_detail(certificate.parse(session.certificate_pem).sha256)
    if not any(tunnel for _, tunnel in tunnels):
        raise TaskError("no tunnel is open", hint=f"{command('up --detach')} opens one")


def _warn_of_damaged_records() -> None:
    for path in sessions.damaged_records():
        warn(f"{path} cannot be read as the record of a session, and is left out: move it away")


def _states(settings: Settings) -> list[dict[str, Any]]:
    _warn_of_damaged_records()
    records = sessions.list_records()
    return [
        _state(session, state) for session, state in zip(records, _query_all(records, settings), strict=True)
    ]


def _state(session: AnySession, server_state: server.ServerState | None) -> dict[str, Any]:
    tunnel = sessions.get_tunnel(session)
    # The host knows better: a start that was interrupted, or done from another machine, is not on record here.
    source: Any = server_state if server_state and server_state.running else session
    cert = _certificate(getattr(source, "certificate_pem", None))
    stopped = server_state is not None and not server_state.running
    return {
        "host": session.host,
        "user": session.user,
        "gateway": session.gateway,
        "server": "unreachable" if server_state is None else "stopped" if stopped else "running",
        "pid": None if stopped else getattr(source, "pid", None),
        "remote_port": None if stopped else getattr(source, "port", getattr(source, "remote_port", None)),
        "application": getattr(source, "application", None),
        "directory": getattr(source, "directory", None),
        "started": getattr(source, "started", None),
        "tunnel": tunnel.state if tunnel else "closed",
        "local_port": tunnel.local_port if tunnel else None,
        "url": tunnel.url if tunnel else None,
        "extra_ports": tunnel.extra_ports if tunnel else {},
        "login_required": tunnel.login_required or None if tunnel else None,
        "certificate_sha256": cert.sha256 if cert else None,
        "certificate_expires": cert.expires.isoformat() if cert else None,
    }


def _certificate(pem: str | None) -> certificate.Certificate | None:
    try:
        return certificate.parse(pem) if pem else None
    except RemoteError:
        return None


def _query_all(records: Sequence[AnySession], settings: Settings) -> list[server.ServerState | None]:
    """What each session's host says of its server; they are asked side by side, and one that stays silent says None."""
    default = type(settings.timeouts)().connect
    timeout = REPLY_TIMEOUT_S if settings.timeouts.connect == default else settings.timeouts.connect
    settings = msgspec.structs.replace(
        settings, timeouts=msgspec.structs.replace(settings.timeouts, connect=timeout)
    )
    deadline = time.monotonic() + timeout
    queries = [_StatusQuery(session, settings) for session in records]
    for query in queries:
        query.start()
    for query in queries:
        query.join(max(0.0, deadline - time.monotonic()))
    for query in queries:
        if query.error is not None:
            raise query.error
    return [query.state for query in queries]


class _StatusQuery(threading.Thread):
    """Asks one host; a daemon, as looking up a name or a silent network may take longer than anybody waits."""

    def __init__(self, session: AnySession, settings: Settings) -> None:
        super().__init__(name=f"status of {session.host}", daemon=True)
        self._session = session
        self._settings = settings
        self.state: server.ServerState | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.state = _query_host(self._session, self._settings)
        except Exception as error:  # noqa: BLE001 # it is raised where it is waited for
            self.error = error


def _query_host(session: AnySession, settings: Settings) -> server.ServerState | None:
    """What the session's host says of its server; None where it cannot be asked."""
    try:
        return server.get_state(connect_to_session(session, settings, CredentialPrompter(NullPrompter())))
    except UserError:
        return None
