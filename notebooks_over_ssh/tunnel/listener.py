"""Takes a local port, on every loopback address that this machine has."""

import contextlib
import errno
import socket
from typing import NamedTuple

import psutil

from notebooks_over_ssh.errors import BadSetting, Failed

LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
FIRST_PORT = 8888
PORTS_TRIED = 200
LARGEST_PORT = 65535
BACKLOG = 512


class Listener(NamedTuple):
    """A local port that is ours, on every loopback address that this machine has."""

    port: int
    sockets: tuple[socket.socket, ...]

    def close(self) -> None:
        """Give the port back."""
        for listening in self.sockets:
            listening.close()


def listen(port: int | None, rather: int | None = None) -> Listener:
    """Take the port; where that is None, the one that is liked best, or the first free one from 8888 on.

    Raises BadSetting when the port is taken, Failed when all are.
    """
    if port is not None:
        try:
            return _take(port)
        except OSError as error:
            raise BadSetting(
                f"the local port {port} is taken{_holder(port)}"
                if error.errno == errno.EADDRINUSE
                else f"the local port {port} cannot be used: {error.strerror}",
                hint="choose another with --local-port, or leave it out for the first free one",
            ) from error
    for candidate in (rather or FIRST_PORT, *range(FIRST_PORT, FIRST_PORT + PORTS_TRIED)):
        try:
            return _take(candidate)
        except OSError:
            continue
    raise Failed(
        f"no local port from {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1} is free",
        hint="give one with --local-port",
    )


def listen_near(port: int) -> Listener:
    """Take the port, or the first free one after it. Raises Failed when there is none near it."""
    for candidate in range(port, min(port + PORTS_TRIED, LARGEST_PORT + 1)):
        try:
            return _take(candidate)
        except OSError:
            continue
    raise Failed(
        f"no local port from {port} on is free", hint="end what listens there, or leave it out of --forward"
    )


def _take(port: int) -> Listener:
    taken: list[socket.socket] = []
    try:
        for family, address in LOOPBACKS:
            listening = socket.socket(family, socket.SOCK_STREAM)
            taken.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind((address, port))
                listening.listen(BACKLOG)
            except OSError as error:
                # A machine without IPv6 has no ::1, and nothing can be asked for there.
                if family == socket.AF_INET6 and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    taken.pop().close()
                    continue
                raise
    except OSError:
        for listening in taken:
            listening.close()
        raise
    return Listener(port, tuple(taken))


def _holder(port: int) -> str:
    """Who has the port, as far as this user may know."""
    with contextlib.suppress(psutil.Error, OSError):
        for held in psutil.net_connections("tcp"):
            if held.status == psutil.CONN_LISTEN and held.laddr and held.laddr.port == port and held.pid:
                return f" by {psutil.Process(held.pid).name()} (process {held.pid})"
    return ""
