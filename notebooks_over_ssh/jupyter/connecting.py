"""The way to the host of a session, or to the host that the user named."""

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import Problem
from notebooks_over_ssh.jupyter import server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import AnySession
from notebooks_over_ssh.ssh import connection as ssh
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.host_keys import AnotherMachine
from notebooks_over_ssh.ssh.prompting import Asking


def reach(settings: Settings, asking: Asking) -> Connection:
    """The Connection to the host of the session that the user means, else to the host given. Raises a Problem.

    A host that known_hosts has with another key than the session's record is still that of the session, if it has its name.
    """
    session = sessions.find(settings)
    if session is None:
        return ssh.connect(settings, settings.place(), asking)
    try:
        return reach_session(session, settings, asking)
    except Problem as problem:
        if not isinstance(problem.__cause__, AnotherMachine):
            raise
        connection = ssh.connect(settings, session.place, asking)
        if server.state(connection).host != session.host:
            raise
        return connection


def reach_session(session: AnySession, settings: Settings, asking: Asking) -> Connection:
    """The Connection to the very machine that the session runs on, by the way that the user went to it first.

    Raises a Problem.
    """
    settings = msgspec.structs.replace(settings, gateway=session.gateway)
    return ssh.connect(settings, session.place, asking, session.machine)
