"""TCP servers and clients of the tests."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

LOOPBACK = "127.0.0.1"
TIMEOUT_S = 20.0


@contextlib.contextmanager
def accept_loop(listener: socket.socket, handle: Callable[[socket.socket], object]) -> Iterator[int]:
    """Call `handle` with each new connection, in one thread, until the end of the block; yields the port."""

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            handle(peer)

    thread = threading.Thread(target=accept)
    with listener:
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(TIMEOUT_S)


def dial(port: int, host: str = LOOPBACK) -> socket.socket:
    """A connection to a port of this machine."""
    return socket.create_connection((host, port), timeout=TIMEOUT_S)


def read_all(peer: socket.socket) -> bytes:
    """All data until end of file. Raises ConnectionResetError."""
    blocks = []
    while block := peer.recv(65536):
        blocks.append(block)
    return b"".join(blocks)


def read(peer: socket.socket, size: int) -> bytes:
    """`size` bytes, or fewer at end of file."""
    data = b""
    while len(data) < size and (block := peer.recv(size - len(data))):
        data += block
    return data


def echo(peer: socket.socket) -> None:
    """Send back all data until end of file."""
    while block := peer.recv(65536):
        peer.sendall(block)


def echoes(peer: socket.socket, message: bytes = b"are you there?") -> bool:
    """Whether an echo server sends the message back."""
    peer.sendall(message)
    return read(peer, len(message)) == message
