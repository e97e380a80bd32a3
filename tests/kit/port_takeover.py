"""A program that takes the port of a server that has ended, and serves TLS there with its own certificate."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.kit.certificates import certificate, new_key, pem, server_context
from tests.kit.sockets import LOOPBACK, TIMEOUT_S, accept_loop
from tests.kit.wait import wait_until


@dataclass
class PortTakeover:
    """What it received."""

    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    """What was sent by those who accepted the certificate."""


@contextlib.contextmanager
def take_over_port(port: int, folder: Path) -> Iterator[PortTakeover]:
    """Listen on the port, once it is free, during the body."""
    key = new_key()
    context = server_context(pem(key) + certificate(key), folder)
    takeover = PortTakeover()

    def serve(peer: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(peer, server_side=True) as tls_socket:
            request = tls_socket.recv(65536)
            if request:
                takeover.requests.append(request)
                tls_socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def start_thread(peer: socket.socket) -> None:
        takeover.connections += 1
        peer.settimeout(TIMEOUT_S)
        threading.Thread(target=serve, args=(peer,), daemon=True).start()

    # The threads of a killed process may hold its sockets a moment longer than its main thread.
    listeners: list[socket.socket] = []

    def is_listening() -> bool:
        with contextlib.suppress(OSError):
            listeners.append(socket.create_server((LOOPBACK, port)))
        return bool(listeners)

    wait_until(is_listening, "the port is free")
    with accept_loop(listeners[0], start_thread):
        yield takeover
