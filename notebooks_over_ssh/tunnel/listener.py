"""Listens on a local port, on every loopback address of this machine."""

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
    """The listening sockets of one local port, one for each loopback address of this machine."""

    port: int
    sockets: tuple[socket.socket, ...]

    def close(self) -> None:
        """Release the port."""
        for sock in self.sockets:
            sock.close()


def listen(port: int | None, preferred_port: int | None = None) -> Listener:
    """Listen on `port`; if that is None, on `preferred_port` or the first free port from 8888 on.

    Raises ConfigError if `port` cannot be used, TaskError if no port is free.
    """
    if port is not None:
        try:
            return _bind(port)
        except OSError as error:
            raise ConfigError(
                f"the local port {port} is taken{_port_owner(port)}"
                if error.errno == errno.EADDRINUSE
                else f"the local port {port} cannot be used: {error.strerror}",
                hint="choose another with --local-port, or leave the option out for the first free one",
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
    """Listen on the port, or on the first free one of the 200 from there on. Raises TaskError if none is free."""
    for candidate in range(port, min(port + PORTS_TRIED, MAX_PORT + 1)):
        try:
            return _bind(candidate)
        except OSError:
            continue
    raise TaskError(
        f"no local port from {port} on is free",
        hint="end a program that listens there, or leave the port out of --forward",
    )


def listen_on_any_port() -> Listener:
    """Listen on a port that the system chooses. Raises TaskError if none is free."""
    for _ in range(PORTS_TRIED):
        try:
            with socket.create_server(("127.0.0.1", 0)) as sock:
                port = sock.getsockname()[1]
            return _bind(port)
        except OSError:  # it is taken on ::1
            continue
    raise TaskError("no local port is free", hint="end a program that listens on many ports")


def _bind(port: int) -> Listener:
    sockets: list[socket.socket] = []
    try:
        for family, address in LOOPBACKS:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((address, port))
                sock.listen(BACKLOG)
            except OSError as error:
                # A machine without IPv6 has no ::1, so no client can use it.
                if family == socket.AF_INET6 and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    sockets.pop().close()
                    continue
                raise
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return Listener(port, tuple(sockets))


def _port_owner(port: int) -> str:
    """The process that listens on the port, as ` by NAME (process PID)`; "" if this user cannot see it."""
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
