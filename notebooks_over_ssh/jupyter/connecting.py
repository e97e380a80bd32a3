"""The way to the host of a session, or to the host that the user named."""

import contextlib
import getpass
from pathlib import Path

import msgspec

from notebooks_over_ssh import sandbox
from notebooks_over_ssh.config.settings import Place, Settings
from notebooks_over_ssh.errors import CannotConnect, Failed, Problem
from notebooks_over_ssh.jupyter import server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import AnySession
from notebooks_over_ssh.ssh import connection as ssh
from notebooks_over_ssh.ssh.client_config import HopConfig
from notebooks_over_ssh.ssh.connection import Connection, Destination
from notebooks_over_ssh.ssh.host_keys import AnotherMachine, Machine
from notebooks_over_ssh.ssh.jump_chain import Hop
from notebooks_over_ssh.ssh.prompting import Asking
from notebooks_over_ssh.util.command_hint import command

SANDBOX = "sandbox"
"""The gateway that is the sandbox's. Nothing here starts it."""


class SandboxNotRunning(CannotConnect):
    """The way leads through the sandbox, which does not run."""


def reach(settings: Settings, asking: Asking) -> Connection:
    """The Connection to the host of the session that the user means, else to the host given. Raises a Problem.

    A host that known_hosts has with another key than the session's record is still that of the session, if it has its name.
    """
    session = sessions.find(settings)
    if session is None:
        return connect(settings, settings.place(), asking)
    try:
        return reach_session(session, settings, asking)
    except Problem as problem:
        if not isinstance(problem.__cause__, AnotherMachine):
            raise
        connection = connect(settings, session.place, asking)
        if server.state(connection).host != session.host:
            raise
        return connection


def reach_session(session: AnySession, settings: Settings, asking: Asking) -> Connection:
    """The Connection to the very machine that the session runs on, by the way that the user went to it first.

    Raises a Problem.
    """
    settings = msgspec.structs.replace(settings, gateway=session.gateway)
    return connect(settings, session.place, asking, session.machine)


def connect(settings: Settings, place: Place, asking: Asking, machine: Machine | None = None) -> Connection:
    """The Connection to the place, which has to lead to `machine` where one is given. Raises a Problem."""
    return ssh.connect(settings, destination(settings, place, machine), asking)


def destination(settings: Settings, place: Place, machine: Machine | None = None) -> Destination:
    """The place with what the settings alone do not say of its way. Raises SandboxNotRunning."""
    gateway = sandbox_gateway() if settings.gateway == SANDBOX else None
    return Destination(place, machine, gateway)


def sandbox_gateway() -> Hop:
    """The gateway of the sandbox, and how to log in there. Raises SandboxNotRunning."""
    network = sandbox.running()
    if network is None:
        raise SandboxNotRunning(
            "the sandbox is not running", hint=f"{command('up')} starts it, and a server in it"
        )
    config = HopConfig(
        host="127.0.0.1",
        user=getpass.getuser(),
        port=network.gateway_port,
        identity_files=(Path(network.client_key),),
        known_hosts=(Path(network.known_hosts),),
        agent="none",
    )
    return Hop(SANDBOX, config)


def may_come_back(gateway: str | None) -> bool:
    """Whether a way that was lost could be found again: the sandbox, once ended, is not started for that."""
    return gateway != SANDBOX or sandbox.running() is not None


def sandbox_runs() -> bool:
    """Whether the sandbox runs on this machine."""
    with contextlib.suppress(Failed):  # it runs on another one
        return sandbox.running() is not None
    return False
