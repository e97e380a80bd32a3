"""Somebody who takes the port of a server that has ended, and speaks TLS there with a certificate of their own."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.openssh.network import LOOPBACK, wait_until
from tests.trust.certificates import certificate, new_key, pem
from tests.tunnel.hops import PATIENCE_S


@dataclass
class Taker:
    """What they got."""

    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    """What was sent by those who accepted the certificate."""


@contextlib.contextmanager
def taken(port: int, folder: Path) -> Iterator[Taker]:
    """Listen on the port, once it is free, as long as the body runs."""
    key = new_key()
    file = folder / "taker.pem"
    file.write_text(pem(key) + certificate(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    taker = Taker()

    def serve(peer: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(peer, server_side=True) as shown:
            request = shown.recv(65536)
            if request:
                taker.requests.append(request)
                shown.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def accept(listening: socket.socket) -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            taker.connections += 1
            peer.settimeout(PATIENCE_S)
            threading.Thread(target=serve, args=(peer,), daemon=True).start()

    # The threads of a process that was killed hold its sockets a moment longer than its leader.
    made: list[socket.socket] = []

    def listens() -> bool:
        with contextlib.suppress(OSError):
            made.append(socket.create_server((LOOPBACK, port)))
        return bool(made)

    wait_until(listens, PATIENCE_S, "the port is free")
    with made[0] as listening:
        thread = threading.Thread(target=accept, args=(listening,))
        thread.start()
        try:
            yield taker
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE_S)
