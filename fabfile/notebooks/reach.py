"""The way to the host of a session, or to the host that the user named."""

import msgspec

from fabfile.errors import Problem
from fabfile.notebooks import server
from fabfile.notebooks import session as sessions
from fabfile.notebooks.session import AnySession
from fabfile.settings import Settings
from fabfile.ssh import connection as ssh
from fabfile.ssh.asking import Asking
from fabfile.ssh.connection import Connection
from fabfile.ssh.host_keys import AnotherMachine


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
