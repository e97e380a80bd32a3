"""Servers at the other end of a socket pair, for code that is handed a function to connect with."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.kit.certificates import server_context

TIMEOUT_S = 10.0


@dataclass
class Peer:
    """A server; each of its connections has a thread of its own."""

    serve: Callable[[socket.socket], object]
    requests: list[bytes] = field(default_factory=list)
    """What came over each connection, after its handshake."""
    connections: int = 0
    completed: int = 0
    """How many connections were served to the end, without an error or a timeout."""
    _threads: list[threading.Thread] = field(default_factory=list)

    def dial(self) -> socket.socket:
        """A new connection to it."""
        client_end, server_end = socket.socketpair()
        server_end.settimeout(TIMEOUT_S)
        self.connections += 1
        thread = threading.Thread(target=self._run, args=(server_end,))
        self._threads.append(thread)
        thread.start()
        return client_end

    def join(self) -> None:
        """Wait until every connection has ended."""
        for thread in self._threads:
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()

    def _run(self, server_end: socket.socket) -> None:
        with server_end, contextlib.suppress(OSError):
            self.serve(server_end)
            self.completed += 1


@contextlib.contextmanager
def raw_peer(serve: Callable[[socket.socket], object]) -> Iterator[Peer]:
    """A peer that does what `serve` does with each connection."""
    peer = Peer(serve)
    try:
        yield peer
    finally:
        peer.join()


@contextlib.contextmanager
def tls_peer(pem: str, folder: Path, reply: bytes) -> Iterator[Peer]:
    """A peer with the key and certificate of the PEM text, which sends the same reply to every request."""
    context = server_context(pem, folder)

    def serve(server_end: socket.socket) -> None:
        with context.wrap_socket(server_end, server_side=True) as tls:
            request = tls.recv(65536)
            peer.requests.append(request)
            if request:
                tls.sendall(reply)
                tls.unwrap()

    with raw_peer(serve) as peer:
        yield peer
