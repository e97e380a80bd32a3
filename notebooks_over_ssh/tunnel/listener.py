"""Takes a local port, on every loopback address that this machine has."""

import contextlib
import errno
import socket
from typing import NamedTuple

import psutil

from notebooks_over_ssh.errors import ConfigError, TaskError

LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
FIRST_PORT = 8888
PORTS_TRIED = 200
MAX_PORT = 65535
BACKLOG = 512


class Listener(NamedTuple):
    """A local port that is ours, on every loopback address that this machine has."""

    port: int
    sockets: tuple[socket.socket, ...]

    def close(self) -> None:
        """Give the port back."""
        for sock in self.sockets:
            sock.close()


def listen(port: int | None, preferred_port: int | None = None) -> Listener:
    """Take the port; where that is None, the one that is liked best, or the first free one from 8888 on.

    Raises ConfigError when the port is taken, TaskError when all are.
    """
    if port is not None:
        try:
            return _bind(port)
        except OSError as error:
            raise ConfigError(
                f"the local port {port} is taken{_port_owner(port)}"
                if error.errno == errno.EADDRINUSE
                else f"the local port {port} cannot be used: {error.strerror}",
                hint="choose another with --local-port, or leave it out for the first free one",
            ) from error
    for candidate in (preferred_port or FIRST_PORT, *range(FIRST_PORT, FIRST_PORT + PORTS_TRIED)):
        try:
            return _bind(candidate)
        except OSError:
            continue
    raise TaskError(
        f"no local port from {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1} is free",
        hint="give one with --local-port",
    )


def listen_at_or_after(port: int) -> Listener:
    """Take the port, or the first free one after it. Raises TaskError when there is none near it."""
    for candidate in range(port, min(port + PORTS_TRIED, MAX_PORT + 1)):
        try:
            return _bind(candidate)
        except OSError:
            continue
    raise TaskError(
        f"no local port from {port} on is free", hint="end what listens there, or leave it out of --forward"
    )


def _bind(port: int) -> Listener:
    sockets_: list[socket.socket] = []
    try:
        for family, address in LOOPBACKS:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets_.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((address, port))
                sock.listen(BACKLOG)
            except OSError as error:
                # A machine without IPv6 has no ::1, and nothing can be asked for there.
                if family == socket.AF_INET6 and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    sockets_.pop().close()
                    continue
                raise
    except OSError:
        for sock in sockets_:
            sock.close()
        raise
    return Listener(port, tuple(sockets_))


def _port_owner(port: int) -> str:
    """Who has the port, as far as this user may know."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
                and connection.pid
            ):
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""
