"""Forwards a local port to one on the host, over a Connection: what `ssh -L` does.

Fabric's forward_local listens on IPv4 only, loses what comes after a half-close, and ends for good when one
connection is refused (docs/design.md); here each of these costs nothing or one connection.
"""

import contextlib
import errno
import socket
import threading
from collections.abc import Iterator
from typing import NamedTuple

import paramiko
import psutil

from fabfile.errors import BadSetting, Failed
from fabfile.ssh.failures import FAILURES

LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
FIRST_PORT = 8888
PORTS_TRIED = 200
BLOCK = 256 * 1024
OPEN_TIMEOUT_S = 30


class Listener(NamedTuple):
    """A local port that is ours, on every loopback address that this machine has."""

    port: int
    sockets: tuple[socket.socket, ...]

    def close(self) -> None:
        """Give the port back."""
        for listening in self.sockets:
            with contextlib.suppress(OSError):
                listening.shutdown(
                    socket.SHUT_RDWR
                )  # wakes the thread that waits in accept, where close does not
            listening.close()


def listen(port: int | None) -> Listener:
    """Take the port, or the first free one from 8888 on. Raises BadSetting when it is taken, Failed when all are."""
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
    for candidate in range(FIRST_PORT, FIRST_PORT + PORTS_TRIED):
        try:
            return _take(candidate)
        except OSError:
            continue
    raise Failed(
        f"no local port from {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1} is free",
        hint="give one with --local-port",
    )


def is_free(port: int) -> bool:
    """Whether the port could be taken now."""
    try:
        _take(port).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def forward(listener: Listener, transport: paramiko.Transport, host: str, port: int) -> Iterator[None]:
    """Carry every connection to the listener to `host:port` as seen from the far end, while the body runs."""
    open_sockets: set[socket.socket] = set()
    threads = [
        threading.Thread(target=_accept, args=(listening, transport, (host, port), open_sockets), daemon=True)
        for listening in listener.sockets
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        listener.close()
        for thread in threads:
            thread.join()
        for local in list(open_sockets):
            with contextlib.suppress(OSError):
                local.shutdown(socket.SHUT_RDWR)


def _take(port: int) -> Listener:
    taken: list[socket.socket] = []
    try:
        for family, address in LOOPBACKS:
            listening = socket.socket(family, socket.SOCK_STREAM)
            taken.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind((address, port))
                listening.listen(128)
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


def _accept(
    listening: socket.socket,
    transport: paramiko.Transport,
    target: tuple[str, int],
    open_sockets: set[socket.socket],
) -> None:
    while True:
        try:
            local, origin = listening.accept()
        except OSError:
            return
        open_sockets.add(local)
        threading.Thread(
            target=_carry, args=(local, transport, target, origin[:2], open_sockets), daemon=True
        ).start()


def _carry(
    local: socket.socket,
    transport: paramiko.Transport,
    target: tuple[str, int],
    origin: tuple[str, int],
    open_sockets: set[socket.socket],
) -> None:
    """Carry one connection until both sides have said all they had to say."""
    channel: paramiko.Channel | None = None
    try:
        local.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel = transport.open_channel("direct-tcpip", target, origin, timeout=OPEN_TIMEOUT_S)
        upward = threading.Thread(target=_send_up, args=(local, channel), daemon=True)
        upward.start()
        _bring_down(channel, local)
        upward.join()
    except FAILURES:
        _reset(local)
    finally:
        if channel is not None:
            with _ends(channel):
                channel.close()
        local.close()
        open_sockets.discard(local)


def _send_up(local: socket.socket, channel: paramiko.Channel) -> None:
    with _ends(channel):
        while block := local.recv(BLOCK):
            channel.sendall(block)
        channel.shutdown_write()


def _bring_down(channel: paramiko.Channel, local: socket.socket) -> None:
    with _ends(channel):
        while block := channel.recv(BLOCK):
            local.sendall(block)
        # Where nobody reads any more at the far end, end the reading here too: it waits for a peer that may idle.
        local.shutdown(socket.SHUT_RDWR if channel.closed else socket.SHUT_WR)


@contextlib.contextmanager
def _ends(channel: paramiko.Channel) -> Iterator[None]:
    """End the channel when either side fails; a transport that dies has more than one word for it."""
    try:
        yield
    except FAILURES:
        with contextlib.suppress(*FAILURES):
            channel.close()


def _reset(local: socket.socket) -> None:
    """Let the browser see at once that there is no way, as if the target itself had refused."""
    with contextlib.suppress(OSError):
        local.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
