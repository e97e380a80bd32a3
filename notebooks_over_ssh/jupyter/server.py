"""Starts, queries and stops the Jupyter server on the host."""

from collections.abc import Generator
from typing import Annotated, Any

import msgspec

from notebooks_over_ssh.config.settings import SSH_PORT, Settings
from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.jupyter.remote_result import (
    RemoteProblem,
    decode,
    successful,
    to_exception,
    validate_host_name,
)
from notebooks_over_ssh.jupyter.session import AnySession, PendingSession, RemoteHost, Session
from notebooks_over_ssh.launchers import DEFAULT_LAUNCHER, LAUNCHERS
from notebooks_over_ssh.launchers.base import Confirm, Launched, StartEvent
from notebooks_over_ssh.ssh.connection import Connection, host_key
from notebooks_over_ssh.ssh.remote import run_program
from notebooks_over_ssh.util.command_hint import command

TIMEOUT_S = 30
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Pid = Annotated[int, msgspec.Meta(ge=2)]
Token = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{48}\Z")]


class StartedServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server that answers."""

    host: str
    pid: Pid
    process_start: str
    port: Port
    application: str
    version: str
    directory: str
    started: str
    already_running: bool
    writable: bool
    """Whether its directory can be written to."""
    has_stale_credentials: bool
    """Whether the password or the certificate was changed after it was started."""
    certificate_pem: str


class ServerState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the session's server is running on the host, and its record."""

    host: str
    running: bool
    pid: int | None
    process_start: str | None
    port: Port | None
    """Also None until the server has reported its port."""
    application: str | None
    directory: str | None
    started: str | None
    certificate_pem: str | None


class StopResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of stopping the server."""

    was_running: bool
    forced: bool
    pid: int | None


class ServerToken(msgspec.Struct, frozen=True, kw_only=True):
    """The token of the running server."""

    token: Token


class KernelsBusyError(Exception):
    """The server was not stopped, because `number` of its kernels are busy."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def start(
    login: Connection, settings: Settings, confirm: Confirm
) -> Generator[StartEvent, None, tuple[StartedServer, Launched]]:
    """Start the server in its environment and directory unless it is running, and wait until it answers.

    `login` is the connection to the host that the user named. Yields what happens meanwhile. Raises a UserError.
    """
    notebook = settings.notebook
    parameters = {
        "application": notebook.application,
        "directory": notebook.directory,
        "nice": notebook.nice,
        "remote_port": notebook.remote_port,
        "start_timeout_s": notebook.start_timeout_s,
        "prefix": notebook.prefix,
        "arguments": notebook.arguments,
    }
    launcher = LAUNCHERS[notebook.launcher or DEFAULT_LAUNCHER]
    launched = yield from launcher.start(login, settings, parameters, confirm)
    started = decode(successful(launched.reply, settings, launched.connection), StartedServer)
    return started, launched


def find(
    login: Connection, running: StartedServer, settings: Settings
) -> tuple[StartedServer, Launched] | None:
    """What `start` returns for the server `running`; None if its launcher has more to find out."""
    launcher = LAUNCHERS[settings.notebook.launcher or DEFAULT_LAUNCHER]
    return (running, Launched(login, {}, host_key(login))) if launcher.is_local else None


def make_pending_session(host: str, connection: Connection, settings: Settings) -> PendingSession:
    """The record of a server that is about to be started by the host, which reports the name `host`.

    Raises RemoteError if that is not a valid name.
    """
    return PendingSession(
        gateway=settings.gateway,
        user=connection.user,
        host=validate_host_name(host),
        requested_host=connection.original_host,
        ssh_port=None if connection.port == SSH_PORT else connection.port,
        host_key=host_key(connection),
        host_keys=settings.ssh.host_keys,
        launcher=settings.notebook.launcher or DEFAULT_LAUNCHER,
    )


def make_session(
    started: StartedServer, launched: Launched, login: Connection, settings: Settings
) -> Session:
    """The record of a server that was started, or found, through the connection `login`. Raises RemoteError."""
    pending = make_pending_session(started.host, login, settings)
    return Session(**msgspec.structs.asdict(pending) | _fields(started, launched))


def renew_session(session: AnySession, started: StartedServer, launched: Launched) -> Session:
    """The record of the session with its next server. Raises RemoteError."""
    identity = {name: getattr(session, name) for name in RemoteHost.__struct_fields__}
    return Session(**identity | {"host": validate_host_name(started.host)} | _fields(started, launched))


def _fields(started: StartedServer, launched: Launched) -> dict[str, Any]:
    return {
        "host_key": launched.host_key,
        "job": launched.job,
        "pid": started.pid,
        "process_start": started.process_start,
        "remote_port": started.port,
        "application": started.application,
        "version": started.version,
        "directory": started.directory,
        "started": started.started,
        "certificate_pem": started.certificate_pem,
    }


def get_state(connection: Connection) -> ServerState:
    """The state of the server. Needs no environment. Raises RemoteError or ConnectError."""
    return decode(run_program(connection, "server_status", {}, timeout_s=TIMEOUT_S), ServerState)


def get_token(connection: Connection, session: Session) -> str:
    """The token of the session's server, which gives full access to it. Raises RemoteError or ConnectError."""
    parameters = {"process_start": session.process_start}
    try:
        reply = run_program(connection, "server_token", parameters, timeout_s=TIMEOUT_S)
    except RemoteError as error:
        # Its detail is the output of the program, which may contain the token.
        raise RemoteError(str(error), hint=error.hint) from None
    if reply["problem"]:
        raise RemoteError(
            f"the token of the server on {session.host} cannot be read",
            hint=f"{command('serve')} starts it again",
        )
    return decode(reply, ServerToken).token


def stop(connection: Connection, settings: Settings, *, force: bool) -> StopResult:
    """Stop the server and its kernels, and check that they have ended. Needs no environment.

    Without `force`, raises KernelsBusyError if a kernel is busy, and stops nothing then.
    """
    timeout_s = settings.notebook.stop_timeout_s
    parameters = {"force": force, "stop_timeout_s": timeout_s}
    reply = run_program(connection, "stop_server", parameters, timeout_s=timeout_s + TIMEOUT_S)
    if reply["problem"]:
        problem = decode(reply, RemoteProblem)
        if problem.problem == "busy":
            raise KernelsBusyError(problem.busy)
        raise to_exception(problem, settings, connection.label)
    return decode(reply, StopResult)
