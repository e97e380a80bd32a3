"""Connects to the host of a session, or to the host that the user named."""

import contextlib
import getpass
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec

from notebooks_over_ssh import sandbox
from notebooks_over_ssh.config.settings import SSH_PORT, Destination, Settings
from notebooks_over_ssh.errors import ConnectError, TaskError, UserError
from notebooks_over_ssh.jupyter import server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import AnySession
from notebooks_over_ssh.launchers import LAUNCHERS
from notebooks_over_ssh.launchers.base import Job, JobState
from notebooks_over_ssh.ssh import connections as ssh
from notebooks_over_ssh.ssh.client_config import HopConfig
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.host_keys import Machine, WrongMachineError
from notebooks_over_ssh.ssh.jump_chain import ConnectTarget, Hop
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from notebooks_over_ssh.ssh.queries import run_query
from notebooks_over_ssh.util.command_hint import command

SANDBOX = "sandbox"
"""The value of `gateway` that stands for the sandbox. Nothing here starts the sandbox."""


class SandboxNotRunning(ConnectError):
    """The gateway is the sandbox, which is not running."""


def connect(settings: Settings, credentials: CredentialPrompter) -> Connection:
    """The Connection to the machine of the one session that matches the settings, else to the host in them.

    That is also the host if the session's job is not running. Raises UserError; see `connect_to_login`.
    """
    session = sessions.find(settings)
    login = connect_to_login(settings, credentials)
    if session is None or is_without_machine(run_query(login, partial(job_state, session, login))):
        return login
    return _reach(session, login, settings)


def connect_to_login(settings: Settings, credentials: CredentialPrompter) -> Connection:
    """The Connection to the host that leads to the session that matches the settings, else to the host in them.

    A host that presents another key than the one on record is accepted if known_hosts has that key, and if it reports
    the same host name. Raises UserError.
    """
    session = sessions.find(settings)
    if session is None:
        return ssh.connect(settings, make_target(settings, settings.destination()), credentials)
    try:
        return connect_to_login_of(session, settings, credentials)
    except UserError as error:
        if not isinstance(error.__cause__, WrongMachineError):
            raise
        connection = connect_to(settings, session.destination, credentials)
        if server.get_state(connection).host != session.host:
            raise
        return connection


def connect_to_session(
    session: AnySession, settings: Settings, credentials: CredentialPrompter
) -> Connection:
    """The Connection to the machine that the session runs on, by the route of its record. Raises UserError."""
    return _reach(session, connect_to_login_of(session, settings, credentials), settings)


def job_state(session: AnySession, login: Connection, max_age_s: int = 0) -> JobState | None:
    """The state of the session's job, at most so old; None if it has none. Raises UserError."""
    return LAUNCHERS[session.launcher].state(login, session.job, max_age_s)


def is_without_machine(state: JobState | None) -> bool:
    """Whether it is the state of a job that does not run."""
    return state is not None and state.phase != "running"


def _reach(session: AnySession, login: Connection, settings: Settings) -> Connection:
    return LAUNCHERS[session.launcher].reach(login, session.job, settings)


def stop_job(session: AnySession, login: Connection) -> Job | None:
    """End the session's job, whose server has been stopped; returns it, None if there was none. Raises UserError."""
    return LAUNCHERS[session.launcher].stop(login, session.job)


def connect_to_login_of(
    session: AnySession, settings: Settings, credentials: CredentialPrompter
) -> Connection:
    """The Connection to the host that leads to the session, by the route of its record. Raises UserError.

    The settings may be those of another site: then the host keys on record count too, and the port is that on record.
    """
    is_same_route = session.gateway == settings.gateway
    is_configured = is_same_route and session.requested_host.lower() == settings.destination().host.lower()
    host_keys = settings.ssh.host_keys if is_same_route else session.host_keys | settings.ssh.host_keys
    settings = msgspec.structs.replace(
        settings,
        gateway=session.gateway,
        port=None if settings.port is None else session.ssh_port or SSH_PORT,
        ssh=msgspec.structs.replace(settings.ssh, host_keys=host_keys),
    )
    target = make_target(settings, session.destination, session.login_machine)
    return ssh.connect(settings, replace(target, is_configured=is_configured), credentials)


def connect_to(
    settings: Settings,
    destination: Destination,
    credentials: CredentialPrompter,
    machine: Machine | None = None,
) -> Connection:
    """The Connection to the destination, which must be `machine` if one is given. Raises UserError."""
    return ssh.connect(settings, make_target(settings, destination, machine), credentials)


def make_target(
    settings: Settings, destination: Destination, machine: Machine | None = None
) -> ConnectTarget:
    """The destination, with the expected machine and the sandbox's gateway, if any. Raises SandboxNotRunning."""
    gateway = sandbox_gateway() if settings.gateway == SANDBOX else None
    return ConnectTarget(destination, machine, gateway)


def sandbox_gateway() -> Hop:
    """The gateway of the sandbox, with its login settings. Raises SandboxNotRunning."""
    network = sandbox.find_running()
    if network is None:
        raise SandboxNotRunning("the sandbox is not running", hint=f"{command('up')} starts it")
    config = HopConfig(
        host="127.0.0.1",
        user=getpass.getuser(),
        port=network.gateway_port,
        identity_files=(Path(network.client_key),),
        known_hosts=(Path(network.known_hosts),),
        agent="none",
    )
    return Hop(SANDBOX, config)


def is_retryable(gateway: str | None) -> bool:
    """Whether a lost connection can be retried: a sandbox that has ended is not started again for it."""
    return gateway != SANDBOX or sandbox.find_running() is not None


def sandbox_runs() -> bool:
    """Whether the sandbox is running on this machine."""
    with contextlib.suppress(TaskError):  # it is running on another machine
        return sandbox.find_running() is not None
    return False
