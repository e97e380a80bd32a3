"""The way to the host of a session, or to the host that the user named."""

import msgspec

from fabfile.errors import CannotConnect, HostKeyRefused, Problem
from fabfile.notebooks import session as sessions
from fabfile.notebooks.session import Session
from fabfile.settings import Place, Settings
from fabfile.ssh import connection as ssh
from fabfile.ssh.asking import Asking
from fabfile.ssh.connection import Connection


def reach(settings: Settings, asking: Asking) -> Connection:
    """The Connection to the host of the session that the user means, else to the host given. Raises a Problem."""
    session = sessions.find(settings)
    return (
        reach_session(session, settings, asking)
        if session
        else ssh.connect(settings, settings.place(), asking)
    )


def reach_session(session: Session, settings: Settings, asking: Asking) -> Connection:
    """The Connection to the very machine that the session runs on, by the key that it showed when it began.

    Where its own name leads nowhere, or elsewhere, from the gateway, the name under which it was reached first is tried: what
    answers there must be the same machine. Raises a Problem.
    """
    settings = msgspec.structs.replace(settings, gateway=session.gateway)
    try:
        return ssh.connect(settings, session.place, asking, session.host_key)
    except (CannotConnect, HostKeyRefused) as problem:
        if session.requested == session.host:
            raise
        requested = Place(host=session.requested, user=session.user, port=session.ssh_port)
        try:
            connection = ssh.connect(settings, requested, asking)
        except Problem:
            raise problem from None
        if ssh.host_key(connection) != session.host_key:
            raise
        ssh.also_called(settings, connection, session.place)
        return connection
