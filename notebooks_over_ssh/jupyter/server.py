"""The Jupyter server on the host: starting it, asking about it, ending it."""

from collections.abc import Callable
from typing import Annotated

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.jupyter.remote_result import (
    Obstacle,
    ask_in_environment,
    checked,
    checked_host_name,
    explained,
)
from notebooks_over_ssh.jupyter.session import PendingSession, Session
from notebooks_over_ssh.ssh import connection as ssh
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.remote import run_program

PATIENCE_S = 30
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Pid = Annotated[int, msgspec.Meta(ge=2)]


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A server that answers."""

    host: str
    pid: Pid
    process_start: str
    port: Port
    application: str
    version: str
    directory: str
    started: str
    reused: bool
    writable: bool
    """Whether its directory can be written to."""
    outdated: bool
    """Whether the password or the certificate was changed after it was started."""
    certificate_pem: str


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a server of ours runs on the host, what is known of it there, and where its log is."""

    host: str
    running: bool
    pid: int | None
    process_start: str | None
    port: Port | None
    """None too as long as the server has not written its port."""
    application: str | None
    directory: str | None
    started: str | None
    certificate_pem: str | None
    log: str


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is gone."""

    was_running: bool
    forced: bool
    pid: int | None


class KernelsBusy(Exception):
    """The server was not stopped, for so many of its kernels compute."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def start(connection: Connection, settings: Settings, before_start: Callable[[str], None]) -> Started:
    """Start the server in its environment and directory, or find the one that runs; returns once it answers.

    Where none runs, `before_start` is called with the host's own name, and the server is started after it returns.
    Raises RemoteFailed with the cause, and what is there instead.
    """
    wanted = settings.notebook
    parameters = {
        "application": wanted.application,
        "directory": wanted.directory,
        "nice": wanted.nice,
        "remote_port": wanted.remote_port,
        "start_timeout_s": wanted.start_timeout_s,
        "arguments": wanted.arguments,
    }
    patience_s = wanted.start_timeout_s + PATIENCE_S
    answer = ask_in_environment(
        connection,
        settings,
        "start_server",
        parameters,
        timeout_s=patience_s,
        confirm=lambda host: before_start(checked_host_name(host)),
    )
    started = checked(answer, Started)
    checked_host_name(started.host)
    return started


def pending_session(host: str, connection: Connection, settings: Settings) -> PendingSession:
    """What is to be remembered of the host before a server is started over this connection."""
    return PendingSession(
        gateway=settings.gateway,
        user=connection.user,
        host=host,
        requested=connection.original_host,
        ssh_port=None if connection.port == ssh.SSH_PORT else connection.port,
        host_key=ssh.host_key(connection),
    )


def session_of(started: Started, connection: Connection, settings: Settings) -> Session:
    """What is to be remembered of a server that was started, or found, over this connection."""
    return Session(
        **msgspec.structs.asdict(pending_session(started.host, connection, settings)),
        pid=started.pid,
        process_start=started.process_start,
        remote_port=started.port,
        application=started.application,
        version=started.version,
        directory=started.directory,
        started=started.started,
        certificate_pem=started.certificate_pem,
    )


def state(connection: Connection) -> State:
    """Whether the server runs; needs no environment. Raises RemoteFailed or CannotConnect."""
    return checked(run_program(connection, "server_status", {}, timeout_s=PATIENCE_S), State)


def stop(connection: Connection, settings: Settings, *, even_if_busy: bool) -> Stopped:
    """End the server and its kernels, and see that they are gone; needs no environment.

    Raises KernelsBusy, with nothing done, when a kernel computes and that was not allowed for.
    """
    patience_s = settings.notebook.stop_timeout_s
    parameters = {"even_if_busy": even_if_busy, "stop_timeout_s": patience_s}
    answer = run_program(connection, "stop_server", parameters, timeout_s=patience_s + PATIENCE_S)
    if answer["problem"]:
        obstacle = checked(answer, Obstacle)
        if obstacle.problem == "busy":
            raise KernelsBusy(obstacle.busy)
        raise explained(obstacle, settings, connection.label)
    return checked(answer, Stopped)
