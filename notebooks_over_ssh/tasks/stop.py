"""stop: stop the server and its kernels, close the tunnel, and delete the session."""

import time

import msgspec

from notebooks_over_ssh import sandbox
from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import (
    AuthenticationError,
    ConfigError,
    ConnectError,
    HostKeyError,
    RemoteError,
    TaskError,
    UserError,
)
from notebooks_over_ssh.jupyter import server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import (
    SANDBOX,
    SandboxNotRunning,
    connect_to,
    connect_to_login_of,
    connect_to_session,
    is_without_machine,
    job_state,
    sandbox_runs,
    stop_job,
)
from notebooks_over_ssh.jupyter.session import AnySession, Tunnel
from notebooks_over_ssh.launchers.base import JobEndedError, JobState
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.mux.login_sockets import find_login
from notebooks_over_ssh.tasks.run import Run
from notebooks_over_ssh.tasks.start_sandbox import start_if_needed
from notebooks_over_ssh.terminal import print_detail, print_step, progress, warn
from notebooks_over_ssh.trust_stores import manager
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.util.command_hint import command
from notebooks_over_ssh.util.duration import describe_duration

NOT_RUNNING = server.StopResult(was_running=False, forced=False, pid=None)


def stop(run: Run, *, force: bool = False) -> None:
    """Stop the selected session; without a record, stop the server on the host that the user named.

    `force` also stops a server with busy kernels, and removes the record of a session whose host cannot be reached.
    Raises a UserError.
    """
    settings = run.settings
    session = sessions.find_any_gateway(settings)
    if session is not None:
        stop_session(session, run, force=force)
        report_idle_sandbox()
    elif settings.explicit_host is not None:
        start_time = time.monotonic()
        connection = connect_to(settings, settings.destination(), run.credentials)
        _report_stopped(_stop_server(connection, run, force=force), connection.label, start_time)
        for other in sessions.list_records():
            print_detail(f"there is a session: {other}")
    elif sessions.list_records():
        raise ConfigError(
            f"no session matches these settings ({_describe_settings(settings)})",
            hint=f"name its host, user and gateway, or stop all: {command('stop --all')}",
            detail=tuple(map(str, sessions.list_records())),
        )
    else:
        print_step("stop", "no session, nothing to stop")
        report_idle_sandbox()


def report_idle_sandbox() -> None:
    """If the sandbox is running without a session, print how to stop it."""
    if sandbox_runs() and not any(session.gateway == SANDBOX for session in sessions.list_records()):
        print_detail(f"the sandbox is still running: {command('sandbox.stop')} stops it")


def _describe_settings(settings: Settings) -> str:
    description = f"gateway {settings.gateway}" if settings.gateway else "no gateway"
    return description + (f", user {settings.user}" if settings.user else "")


def stop_all(run: Run, *, force: bool = False) -> None:
    """Stop every session on record, through any gateway. Tries all of them, then raises the last UserError."""
    records = sessions.list_records()
    if not records:
        print_step("stop", "no session, nothing to stop")
    problems = []
    for session in records:
        try:
            stop_session(session, run, force=force)
        except UserError as error:
            problems.append(error)
    report_idle_sandbox()
    if problems:
        raise problems[-1]


def stop_session(session: AnySession, run: Run, *, force: bool = False) -> None:
    """Stop the session's server and tunnel, and delete its record. Raises a UserError; the record then stays."""
    start_time = time.monotonic()
    if session.gateway == SANDBOX and not sandbox_runs() and sandbox.has_processes():
        start_if_needed(session.gateway)  # its daemon was killed, but not the server
    try:
        with progress("stop", f"stopping the server on {session.host}"):
            login = connect_to_login_of(session, run.settings, run.credentials)
    except SandboxNotRunning:
        _remove_session(session)
        print_step("stop", f"removed the session on {session.host}, because the sandbox is not running")
        return _remove_unused_certificates()
    except (ConnectError, AuthenticationError, HostKeyError) as error:
        if not force:
            raise type(error)(
                str(error),
                hint=f"{error.hint}; {command('stop --force')} removes only the session's record",
            ) from error
        _remove_session(session)
        print_step(
            "stop", f"removed the session on {session.host}, whose server may still be running: {error}"
        )
        return _remove_unused_certificates()
    with progress("stop", f"stopping the server on {session.host}"):
        state = job_state(session, login)
        connection = _connect_to_server(session, state, run, force=force)
    # Until its job runs, a session has only the host that leads there.
    host = state.job.node if connection and state and state.job else session.host
    stopped = _stop_unless_ended(connection, session, login, run, force=force) if connection else NOT_RUNNING
    if stopped.was_running:
        _report_stopped(stopped, host, start_time)
    closed = tunnels.terminate(session)
    _report_closed(closed)
    session = sessions.reload(session)  # the tunnel may have submitted another job
    has_job = _stop_job(session, run, state, was_running=connection is not None)
    if not stopped.was_running and not has_job:
        _report_stopped(stopped, host, start_time)
    sessions.delete(session)
    _remove_unused_certificates()
    _report_kept_login(login, closed)


def _stop_unless_ended(
    connection: Connection, session: AnySession, login: Connection, run: Run, *, force: bool
) -> server.StopResult:
    """Stop the server, unless its job ends meanwhile. Raises a UserError."""
    try:
        return _stop_server(connection, run, force=force)
    except ConnectError:
        # The end of a job closes the connection to its node, sometimes before the reply.
        state = job_state(session, login)
        if state is None or _connect_to_server(session, state, run, force=force):
            raise
        return NOT_RUNNING


def _connect_to_server(
    session: AnySession, state: JobState | None, run: Run, *, force: bool
) -> Connection | None:
    """The Connection to the server's machine; None if there is no need for one, because its job ends it.

    `state` is that of the job. That is so if it is not running, and with `force` also if its node cannot be reached.
    Raises a UserError.
    """
    if is_without_machine(state):
        return None
    try:
        return connect_to_session(session, run.settings, run.credentials)
    except JobEndedError:
        return None
    except (ConnectError, AuthenticationError, HostKeyError, RemoteError) as error:
        if state is None:
            raise
        if not force:
            raise type(error)(
                str(error),
                hint=f"{command('stop --force')} cancels the job without stopping its server first",
                detail=error.detail,
                source=error.source,
            ) from error
        return None


def _stop_job(session: AnySession, run: Run, state: JobState | None, *, was_running: bool) -> bool:
    """End the session's job, and report it; returns whether there was one. Raises a UserError.

    `state` is what it was. A job that `was_running` may have ended since, because its server was stopped.
    """
    if session.launcher == "host":
        return False
    start_time = time.monotonic()
    with progress("stop", "ending the job"):
        # The login may have been that of the tunnel, and have ended with it.
        login = connect_to_login_of(session, run.settings, run.credentials)
        job = stop_job(session, login) or (session.job if was_running else None)
    if job:
        verb = "cancelled queued" if state and state.phase == "queued" else "ended"
        print_step("stop", f"{verb} job {job.id} on {login.label}", start_time)
    return job is not None


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
    _report_stopped(_stop_server(connection, run, force=False), session.host, start_time)
    _report_closed(tunnels.terminate(session))
    _stop_job(session, run, None, was_running=True)
    sessions.delete(session)
    sessions.save_pending(msgspec.structs.replace(sessions.to_pending(session), job=None))
    _remove_unused_certificates()
    return state


def _remove_session(session: AnySession) -> None:
    tunnels.terminate(session)
    sessions.delete(session)


def _remove_unused_certificates() -> None:
    for store in manager.remove_unused():
        print_step("stop", f"removed its certificate from {store}")


def _stop_server(connection: Connection, run: Run, *, force: bool) -> server.StopResult:
    try:
        return _stop_with_progress(connection, run.settings, force=force)
    except server.KernelsBusyError as busy:
        problem = "a kernel is busy" if busy.number == 1 else f"{busy.number} kernels are busy"
        if not run.prompter.confirm(f"{problem} on {connection.label}: stop the server anyway?"):
            raise TaskError(
                f"{problem} on {connection.label}, so nothing was stopped",
                hint=f"{command('stop --force')} stops it anyway",
            ) from busy
    return _stop_with_progress(connection, run.settings, force=True)


def _stop_with_progress(connection: Connection, settings: Settings, *, force: bool) -> server.StopResult:
    try:
        with progress("stop", f"stopping the server on {connection.label}"):
            return server.stop(connection, settings, force=force)
    except KeyboardInterrupt:
        warn(f"the server on {connection.label} may still be running: {command('status')} shows it")
        raise


def _report_stopped(stopped: server.StopResult, host: str, start_time: float) -> None:
    if not stopped.was_running:
        print_step("stop", f"no server of yours was running on {host}", start_time)
    else:
        reason = ", killed because it did not exit in time" if stopped.forced else ""
        print_step("stop", f"stopped the server on {host} (process {stopped.pid}){reason}", start_time)


def _report_kept_login(login: Connection, closed: Tunnel | None) -> None:
    """If the login is held without a tunnel from now on, print for how long and how to end it."""
    held_login = find_login(login.login_ids)
    if held_login is None or not held_login.lifetime_s:
        return
    # The process of the closed tunnel may still be about to let go of it.
    if not held_login.tunnel or (closed and closed.pid == held_login.pid):
        lifetime = describe_duration(held_login.lifetime_s)
        print_detail(
            f"the login stays until no command has used it for {lifetime}: {command('logout')} ends it"
        )


def _report_closed(tunnel: Tunnel | None) -> None:
    if tunnel:
        print_step("stop", f"closed the tunnel on port {tunnel.local_port}")
