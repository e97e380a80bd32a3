"""The session in which a program runs, with its command, input and end."""

import contextlib
from collections.abc import Callable

import paramiko

from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.mux.transport import MuxTransport
from notebooks_over_ssh.ssh.protocol.exec_request import request_exec, wait_for_exec_reply
from notebooks_over_ssh.ssh.queries import connection_lost_error

MAX_REFUSALS = 5
OpenSession = Callable[[Connection], paramiko.Channel]


def _open_session(connection: Connection, open_session: OpenSession) -> paramiko.Channel:
    """Open a session; tries again if it is refused, because sshd still counts one that is just being closed.

    Raises one of FAILURES.
    """
    for _ in range(MAX_REFUSALS):
        with contextlib.suppress(paramiko.ChannelException):
            return open_session(connection)
    connection.give_up_shared_login()
    return open_session(connection)


def open_bootstrap_session(connection: Connection) -> paramiko.Channel:
    """A session for BOOTSTRAP, for which the start-up files of the login shell may have run earlier."""
    connection.open()
    if isinstance(connection.transport, MuxTransport):
        return connection.transport.open_bootstrap_session()
    session: paramiko.Channel = connection.create_session()
    return session


def open_channel(connection: Connection, open_session: OpenSession, command: str) -> paramiko.Channel:
    """Open a session and request the command in it, with one stream for output and errors. Raises ConnectError."""
    # Fabric would log in again, which may need the user. The end of another process that had logged in is no such loss.
    if not connection.is_connected and not isinstance(connection.transport, MuxTransport):
        raise connection_lost_error(connection)
    try:
        channel = _open_session(connection, open_session)
        channel.set_combine_stderr(True)
        request_exec(channel, command)
    except FAILURES as error:
        raise connection_lost_error(connection) from error
    return channel


def send(channel: paramiko.Channel, data: bytes) -> None:
    """Send input of the program. If it has ended before it read that, its output says why."""
    with contextlib.suppress(*FAILURES):
        channel.sendall(data)


def send_last(channel: paramiko.Channel, data: bytes) -> None:
    """As `send`, and end the input."""
    send(channel, data)
    with contextlib.suppress(*FAILURES):
        channel.shutdown_write()


def close(channel: paramiko.Channel) -> None:
    """Close the session, whose program then exits."""
    with contextlib.suppress(*FAILURES):  # the connection was lost
        channel.close()


def wait_for_exec(connection: Connection, channel: paramiko.Channel) -> None:
    """Wait until the server has replied to the request. Raises ConnectError if it does not in time."""
    try:
        wait_for_exec_reply(channel, connection.timeout_s)
    except TimeoutError as error:
        raise connection.timeout_error() from error
