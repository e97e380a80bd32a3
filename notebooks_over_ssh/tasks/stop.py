"""stop: stop the server and its kernels, close the tunnel, and delete the session."""

import time

from notebooks_over_ssh import sandbox
from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import (
    AuthenticationError,
    ConfigError,
    ConnectError,
    HostKeyError,
    TaskError,
    UserError,
)
from notebooks_over_ssh.jupyter import server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import (
    SANDBOX,
    SandboxNotRunning,
    connect_to,
    connect_to_session,
    sandbox_runs,
)
from notebooks_over_ssh.jupyter.session import AnySession, PendingSession, Tunnel
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tasks.run import Run
from notebooks_over_ssh.tasks.start_sandbox import start_if_needed
from notebooks_over_ssh.terminal import print_detail, print_step, progress, warn
from notebooks_over_ssh.trust_stores import manager
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.util.command_hint import command


def stop(run: Run, *, force: bool = False) -> None:
    """Stop the selected session; if none is on record, our server on the host that the user named.

    Says where the sandbox keeps running. With `force` busy kernels end too, and a session whose host cannot be reached is forgotten. Raises a UserError.
    """
    settings = run.settings
    session = sessions.find_any_gateway(settings)
    if session is not None:
        stop_session(session, run, force=force)
        tell_that_sandbox_runs()
    elif settings.explicit_host is not None:
        start_time = time.monotonic()
        connection = connect_to(settings, settings.destination(), run.credentials)
        _report_stopped(_stop_server(connection, run, force=force), connection.label, start_time)
        for other in sessions.list_records():
            print_detail(f"on record is {other}")
    elif sessions.list_records():
        raise ConfigError(
            f"no session of these settings ({_describe_settings(settings)})",
            hint=f"name one by its host, user and gateway; {command('stop --all')} stops them all",
            detail=tuple(map(str, sessions.list_records())),
        )
    else:
        print_step("stop", "no session, nothing to stop")
        tell_that_sandbox_runs()


def tell_that_sandbox_runs() -> None:
    """Print that the sandbox keeps running and how to stop it, if no session needs it."""
    if sandbox_runs() and not any(session.gateway == SANDBOX for session in sessions.list_records()):
        print_detail(f"the sandbox keeps running: {command('sandbox.stop')} ends it")


def _describe_settings(settings: Settings) -> str:
    description = f"gateway {settings.gateway}" if settings.gateway else "no gateway"
    return description + (f", user {settings.user}" if settings.user else "")


def stop_all(run: Run, *, force: bool = False) -> None:
    """Stop every session on record, through any gateway. Raises the last UserError after all were tried."""
    records = sessions.list_records()
    if not records:
        print_step("stop", "no session, nothing to stop")
    problems = []
    for session in records:
        try:
            stop_session(session, run, force=force)
        except UserError as error:
            problems.append(error)
    tell_that_sandbox_runs()
    if problems:
        raise problems[-1]


def stop_session(session: AnySession, run: Run, *, force: bool = False) -> None:
    """Stop the session's server and tunnel, and delete its record. Raises a UserError, and keeps the record then."""
    start_time = time.monotonic()
    if session.gateway == SANDBOX and not sandbox_runs() and sandbox.has_processes():
        start_if_needed(session.gateway)  # its background process was killed, and the server was not
    try:
        with progress("stop", f"ending the server on {session.host}"):
            connection = connect_to_session(session, run.settings, run.credentials)
    except SandboxNotRunning:
        _forget(session)
        print_step("stop", f"the sandbox is not running, so the session on {session.host} is forgotten")
        return _remove_replaced_trust()
    except (ConnectError, AuthenticationError, HostKeyError) as error:
        if not force:
            raise type(error)(
                str(error),
                hint=f"{error.hint}; {command('stop --force')} forgets the session without its host",
            ) from error
        _forget(session)
        print_step(
            "stop", f"{session.host} was not reached; its session is forgotten, its server may still run"
        )
        return _remove_replaced_trust()
    stopped = _stop_server(connection, run, force=force)
    tunnel = _forget(session)
    _report_stopped(stopped, session.host, start_time, tunnel)
    _remove_replaced_trust()


def stop_for_restart(session: AnySession, pid: int, run: Run) -> server.ServerState | None:
    """Stop the session's server if it is still the process `pid`; returns its last state, or None if it is not.

    A pending session stays on record, so that the next start goes to the same machine. Raises a UserError.
    """
    start_time = time.monotonic()
    with progress("stop", f"stopping the server on {session.host}"):
        connection = connect_to_session(session, run.settings, run.credentials)
        state = server.get_state(connection)
    if state.pid != pid:
        return None
    stopped = _stop_server(connection, run, force=False)
    tunnel = _forget(session)
    host = {name: getattr(session, name) for name in PendingSession.__struct_fields__}
    sessions.save_pending(PendingSession(**host))
    _report_stopped(stopped, session.host, start_time, tunnel)
    _remove_replaced_trust()
    return state


def _forget(session: AnySession) -> Tunnel | None:
    tunnel = tunnels.terminate(session)
    sessions.delete(session)
    return tunnel


def _remove_replaced_trust() -> None:
    for store in manager.remove_unused():
        print_step("stop", f"{store} trusts its certificate no longer")


def _stop_server(connection: Connection, run: Run, *, force: bool) -> server.StopResult:
    try:
        return _end_unless_busy(connection, run.settings, force=force)
    except server.KernelsBusyError as busy:
        kernels = "a kernel computes" if busy.number == 1 else f"{busy.number} kernels compute"
        if not run.prompter.confirm(f"{kernels} on {connection.label}: end the server all the same?"):
            raise TaskError(
                f"{kernels} on {connection.label}, so nothing was stopped",
                hint=f"{command('stop --force')} stops it all the same",
            ) from busy
    return _end_unless_busy(connection, run.settings, force=True)


def _end_unless_busy(connection: Connection, settings: Settings, *, force: bool) -> server.StopResult:
    try:
        with progress("stop", f"ending the server on {connection.label}"):
            return server.stop(connection, settings, force=force)
    except KeyboardInterrupt:
        warn(f"the server on {connection.label} may still run: status shows it")
        raise


def _report_stopped(
    stopped: server.StopResult, host: str, start_time: float, tunnel: Tunnel | None = None
) -> None:
    if not stopped.was_running:
        print_step("stop", f"no server of yours ran on {host}", start_time)
    else:
        how = ", which had to be forced" if stopped.forced else ""
        print_step("stop", f"server on {host} ended (process {stopped.pid}){how}", start_time)
    if tunnel:
        print_step("stop", f"tunnel on port {tunnel.local_port} closed")
