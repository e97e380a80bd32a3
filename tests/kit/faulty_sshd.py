"""SSH servers that fail at one step of the connection (RFC 4253, 4252, 4254), and record that they did."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import asyncssh
import paramiko

from tests.kit.mitm_sshd import MitmRecord, MitmServer
from tests.kit.sockets import accept_loop
from tests.kit.sshd import LOOPBACK

TIMEOUT_S = 10
MSG_KEXINIT = 20
ServerFunction = Callable[[socket.socket, threading.Event], None]


@contextlib.contextmanager
def raw_server(serve_client: ServerFunction) -> Iterator[tuple[int, threading.Event]]:
    """A TCP server that calls `serve_client` for each client and keeps the connection open.

    Yields its port, and the event that `serve_client` sets when it stops answering.
    """
    stall_event = threading.Event()
    peers: list[socket.socket] = []

    def serve(peer: socket.socket) -> None:
        peers.append(peer)
        with contextlib.suppress(OSError):
            serve_client(peer, stall_event)

    with accept_loop(socket.create_server((LOOPBACK, 0)), serve) as port:
        try:
            yield port, stall_event
        finally:
            for peer in peers:
                with contextlib.suppress(OSError):
                    peer.shutdown(socket.SHUT_RDWR)
                peer.close()


def send_nothing(peer: socket.socket, stall_event: threading.Event) -> None:
    """Send no version."""
    stall_event.set()


def close_immediately(peer: socket.socket, stall_event: threading.Event) -> None:
    """Close before the version."""
    peer.close()


def close_after_banner(peer: socket.socket, stall_event: threading.Event) -> None:
    """Close after the version."""
    peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    peer.close()


def send_endless_banner(peer: socket.socket, stall_event: threading.Event) -> None:
    """Send lines with control characters, and no version."""
    for number in range(5000):
        peer.sendall(f"\033[31mWelcome {number}\007\r\n".encode())
    stall_event.set()


def send_slow_banner(peer: socket.socket, stall_event: threading.Event) -> None:
    """Send a line now and then, and no version."""
    for _ in range(200):
        peer.sendall(b"One moment, please.\r\n")
        threading.Event().wait(0.1)


def stall_in_kex(peer: socket.socket, stall_event: threading.Event) -> None:
    """Send the version and a KEXINIT (RFC 4253, section 7.1), and nothing more."""
    peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    message = paramiko.Message()
    message.add_byte(bytes([MSG_KEXINIT]))
    message.add_bytes(os.urandom(16))
    algorithms = [name for name in ("aes128-ctr", "hmac-sha2-256", "none", "") for _ in range(2)]
    for names in ("curve25519-sha256@libssh.org", "ssh-ed25519", *algorithms):
        message.add_string(names)
    message.add_boolean(False)
    message.add_int(0)
    body = message.asbytes()
    padding = 8 - (len(body) + 5) % 8
    padding += 8 if padding < 4 else 0
    packet = bytes([padding]) + body + os.urandom(padding)
    peer.sendall(len(packet).to_bytes(4, "big") + packet)
    stall_event.set()


class StallsDuringAuth(MitmServer):
    """Never answers the first authentication request."""

    async def begin_auth(self, username: str) -> bool:  # type: ignore[override]
        self.record.stall_event.set()
        await asyncio.Event().wait()
        return True


class StallsAtChannelOpen(MitmServer):
    """Accepts the login, and never answers a channel open."""

    async def session_requested(self) -> Any:
        self.record.stall_event.set()
        await asyncio.Event().wait()

    async def connection_requested(self, *arguments: Any) -> Any:  # type: ignore[override]
        self.record.stall_event.set()
        await asyncio.Event().wait()


class _SilentChannel(asyncssh.SSHServerChannel[bytes]):
    def __init__(self, record: MitmRecord, *arguments: Any, **extra: Any) -> None:
        super().__init__(*arguments, **extra)
        self.record = record

    def _process_exec_request(self, packet: Any) -> Any:
        self.record.stall_event.set()
        return None  # asyncssh: the reply comes later


class StallsAtExec(MitmServer):
    """Opens a channel, and never answers the exec request."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        super().connection_made(conn)
        self.connection = conn

    def session_requested(self) -> Any:
        loop = asyncio.get_running_loop()
        limits = (0, 1024, None, "strict", 2**21, 2**15)
        return _SilentChannel(
            self.record, self.connection, loop, True, False, False, *limits
        ), asyncssh.SSHServerSession()
