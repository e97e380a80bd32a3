"""A plain port in this process, before a TLS server of the tests."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from notebooks_over_ssh.jupyter import certificate as certificates
from notebooks_over_ssh.tunnel.listener import listen_on_any_port
from notebooks_over_ssh.tunnel.plain.proxy import PlainProxy
from notebooks_over_ssh.tunnel.plain.server_connection import Server, ServerConnector
from tests.kit.certificates import authority, certificate, new_key, pem
from tests.kit.http_server import PLAIN_TOKEN, SERVER_TOKEN
from tests.kit.sockets import LOOPBACK, TIMEOUT_S, accept_loop, dial

Handler = Callable[[ssl.SSLSocket], None]


@dataclass
class TLSServer:
    """A TLS server on a port of its own, with a certificate of its own."""

    port: int
    server: Server


@contextlib.contextmanager
def tls_server(folder: Path, handle: Handler, *, is_issued: bool = False) -> Iterator[TLSServer]:
    """Run a TLS server during the body; `handle` serves each connection, in a thread.

    If `is_issued`, its certificate is one that the expected one has signed.
    """
    key, expected_key = new_key(), new_key()
    expected_pem = authority(expected_key) if is_issued else certificate(key)
    certificate_pem = (
        certificate(key, subject="a leaf", issuer="a server", signer=expected_key)
        if is_issued
        else expected_pem
    )
    file = folder / "server.pem"
    file.write_text(pem(key) + certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    def serve(peer: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(peer, server_side=True) as tls_socket:
            handle(tls_socket)

    threads: list[threading.Thread] = []

    def start(peer: socket.socket) -> None:
        peer.settimeout(TIMEOUT_S)
        threads.append(threading.Thread(target=serve, args=(peer,)))
        threads[-1].start()

    with accept_loop(socket.create_server((LOOPBACK, 0)), start) as port:
        yield TLSServer(port, Server(certificates.parse(expected_pem), SERVER_TOKEN))
    for thread in threads:
        thread.join(TIMEOUT_S)


def answer_requests(answer: bytes) -> Handler:
    """A handler that sends the same answer to each request without a body."""

    def handle(tls_socket: ssl.SSLSocket) -> None:
        received = b""
        while block := tls_socket.recv(65536):
            received += block
            while b"\r\n\r\n" in received:
                _, _, received = received.partition(b"\r\n\r\n")
                tls_socket.sendall(answer)

    return handle


@contextlib.contextmanager
def plain_proxy(port: int, find_server: Callable[[], Server]) -> Iterator[int]:
    """A plain port before the server on `port` during the body; yields its number."""
    with closing(listen_on_any_port()) as listener:
        connector = ServerConnector(port, PLAIN_TOKEN, find_server)
        with closing(PlainProxy(listener, connector)) as proxy:
            proxy.start()
            yield proxy.port


@contextlib.contextmanager
def plain_server(folder: Path, handle: Handler) -> Iterator[int]:
    """A TLS server and a plain port before it during the body; yields the plain port."""
    with tls_server(folder, handle) as server, plain_proxy(server.port, lambda: server.server) as port:
        yield port


def request(port: int, target: str = "/", *headers: str) -> bytes:
    """The head of a GET request to the plain port."""
    lines = [f"GET {target} HTTP/1.1", f"Host: {LOOPBACK}:{port}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def status_of(port: int, target: str = "/", *headers: str) -> bytes:
    """The status code of the response to a request of its own connection."""
    with dial(port) as client:
        client.sendall(request(port, target, *headers))
        return client.recv(65536).split(b" ")[1]
