"""stop: the server and its kernels end, the tunnel closes, and nothing is left of the session."""

import time

import msgspec

from notebooks_over_ssh import sandbox
from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import (
    AuthenticationRefused,
    BadSetting,
    CannotConnect,
    Failed,
    HostKeyRefused,
    Problem,
)
from notebooks_over_ssh.jupyter import server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import (
    SANDBOX,
    SandboxNotRunning,
    connect,
    reach_session,
    sandbox_runs,
)
from notebooks_over_ssh.jupyter.session import AnySession
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.prompting import Asking
from notebooks_over_ssh.tasks.start_sandbox import start_if_needed
from notebooks_over_ssh.terminal import Person, more, step, warn, working
from notebooks_over_ssh.trust_stores import manager as trusting
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.util.command_hint import command


def stop(settings: Settings, asking: Asking, person: Person, *, force: bool = False) -> None:
    """End the session that the user means; with none on record, a server of ours on the host that the user named.

    Says where the sandbox keeps running. With `force` busy kernels end too, and a session whose host cannot be reached is forgotten. Raises a Problem.
    """
    session = sessions.find_by_record(settings)
    if session is not None:
        stop_session(session, settings, asking, person, force=force)
        tell_that_sandbox_runs()
    elif settings.host_given is not None:
        started = time.monotonic()
        connection = connect(settings, settings.place(), asking)
        _tell(_end_server(connection, settings, person, force=force), connection.label, started)
        for other in sessions.every_record():
            more(f"on record is {other}")
    elif sessions.every_record():
        raise BadSetting(
            f"no session of these settings ({_described(settings)})",
            hint=f"name one by its host, user and gateway; {command('stop --all')} stops them all",
            detail=tuple(map(str, sessions.every_record())),
        )
    else:
        step("stop", "no session, nothing to stop")
        tell_that_sandbox_runs()


def tell_that_sandbox_runs() -> None:
    """Say that the sandbox runs and what ends it, where no session needs it any more."""
    if sandbox_runs() and not any(session.gateway == SANDBOX for session in sessions.every_record()):
        more(f"the sandbox keeps running: {command('sandbox.stop')} ends it")


def _described(settings: Settings) -> str:
    way = f"gateway {settings.gateway}" if settings.gateway else "no gateway"
    return way + (f", user {settings.user}" if settings.user else "")


def stop_all(settings: Settings, asking: Asking, person: Person, *, force: bool = False) -> None:
    """End every session on record, whatever its gateway. Raises the last Problem after all were tried."""
    found = sessions.every_record()
    if not found:
        step("stop", "no session, nothing to stop")
    problems = []
    for session in found:
        try:
            stop_session(session, settings, asking, person, force=force)
        except Problem as problem:
            problems.append(problem)
    tell_that_sandbox_runs()
    if problems:
        raise problems[-1]


def stop_session(
    session: AnySession, settings: Settings, asking: Asking, person: Person, *, force: bool = False
) -> None:
    """End the session's server and tunnel, and forget it. Raises a Problem, with the session still on record."""
    started = time.monotonic()
    settings = msgspec.structs.replace(settings, gateway=session.gateway)
    if session.gateway == SANDBOX and not sandbox_runs() and sandbox.has_processes():
        start_if_needed(session.gateway)  # its background process was killed, and the server was not
    try:
        with working("stop", f"ending the server on {session.host}"):
            connection = reach_session(session, settings, asking)
    except SandboxNotRunning:
        tunnels.end(session)
        sessions.forget(session)
        step("stop", f"the sandbox is not running, so the session on {session.host} is forgotten")
        return _trust_no_longer()
    except (CannotConnect, AuthenticationRefused, HostKeyRefused) as problem:
        if not force:
            raise type(problem)(
                str(problem),
                hint=f"{problem.hint}; {command('stop --force')} forgets the session without its host",
            ) from problem
        tunnels.end(session)
        sessions.forget(session)
        step("stop", f"{session.host} was not reached; its session is forgotten, its server may still run")
        return _trust_no_longer()
    stopped = _end_server(connection, settings, person, force=force)
    tunnel = tunnels.end(session)
    sessions.forget(session)
    _tell(stopped, session.host, started)
    if tunnel:
        step("stop", f"tunnel on port {tunnel.local_port} closed")
    _trust_no_longer()


def _trust_no_longer() -> None:
    for store in trusting.drop_stale():
        step("stop", f"{store} trusts its certificate no longer")


def _end_server(connection: Connection, settings: Settings, person: Person, *, force: bool) -> server.Stopped:
    try:
        return _end_unless_busy(connection, settings, even_if_busy=force)
    except server.KernelsBusy as busy:
        kernels = "a kernel computes" if busy.number == 1 else f"{busy.number} kernels compute"
        if not person.agrees(f"{kernels} on {connection.label}: end the server all the same?"):
            raise Failed(
                f"{kernels} on {connection.label}, so nothing was stopped",
                hint=f"{command('stop --force')} stops it all the same",
            ) from busy
    return _end_unless_busy(connection, settings, even_if_busy=True)


def _end_unless_busy(connection: Connection, settings: Settings, *, even_if_busy: bool) -> server.Stopped:
    try:
        with working("stop", f"ending the server on {connection.label}"):
            return server.stop(connection, settings, even_if_busy=even_if_busy)
    except KeyboardInterrupt:
        warn(f"the server on {connection.label} may still run: status shows it")
        raise


def _tell(stopped: server.Stopped, host: str, started: float) -> None:
    if not stopped.was_running:
        step("stop", f"no server of yours ran on {host}", started)
        return
    how = ", which had to be forced" if stopped.forced else ""
    step("stop", f"server on {host} ended (process {stopped.pid}){how}", started)
