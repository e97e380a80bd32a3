"""The plain port over real sockets: verification, limits and back-pressure."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.tunnel.plain import client_connection, proxy
from notebooks_over_ssh.tunnel.plain.server_connection import Server
from tests.kit.http_server import PLAIN_TOKEN
from tests.kit.plain_proxy import answer_requests, plain_proxy, plain_server, request, status_of, tls_server
from tests.kit.port_takeover import take_over_port
from tests.kit.ports import free_port
from tests.kit.sockets import LOOPBACK, TIMEOUT_S, dial, read, read_all
from tests.kit.wait import elapsed, wait_until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_both_loopback_addresses(tmp_path: Path) -> None:
    """The port is open on 127.0.0.1 and ::1, so that nobody else listens where `localhost` leads, and nowhere else."""
    with plain_server(tmp_path, answer_requests(OK)) as port:
        for address in (LOOPBACK, "::1"):
            with socket.create_connection((address, port), TIMEOUT_S) as client:
                client.sendall(request(port))
                assert client.recv(65536).endswith(b"ok")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), TIMEOUT_S)


def test_impostor(tmp_path: Path) -> None:
    """A program with another certificate behind the tunnel gets no request and no token; the client gets 502."""
    port = free_port()
    with (
        tls_server(tmp_path, answer_requests(OK)) as server,
        take_over_port(port, tmp_path) as takeover,
        plain_proxy(port, lambda: server.server) as plain_port,
    ):
        with dial(plain_port) as client:
            client.sendall(request(plain_port, f"/?token={PLAIN_TOKEN}"))
            response = read_all(client)
        assert (
            response.startswith(b"HTTP/1.1 502 ") and b"the server behind the tunnel is not yours" in response
        )
        assert takeover.connections and takeover.requests == []


def test_issued_certificate(tmp_path: Path) -> None:
    """A server whose certificate was signed by the expected one is refused too, before it gets a request."""
    received: list[bytes] = []
    with (
        tls_server(
            tmp_path, lambda tls_socket: received.append(tls_socket.recv(65536)), is_issued=True
        ) as server,
        plain_proxy(server.port, lambda: server.server) as port,
    ):
        assert status_of(port) == b"502"
    assert not any(received)


def test_new_certificate(tmp_path: Path) -> None:
    """If the session has got a new server while a request waited, the request goes to the new one."""
    with tls_server(tmp_path, answer_requests(OK)) as old, tls_server(tmp_path, answer_requests(OK)) as new:
        servers = [old.server, new.server]
        with plain_proxy(new.port, lambda: servers.pop(0) if len(servers) > 1 else servers[0]) as port:
            assert status_of(port) == b"200"
        assert servers == [new.server]


def test_no_server(tmp_path: Path) -> None:
    """If there is no server, the response says so in one sentence, and the next request tries again."""
    has_ended = True

    def find_server() -> Server:
        if has_ended:
            raise TaskError("the server has ended", hint="start it")
        return server.server

    with tls_server(tmp_path, answer_requests(OK)) as server, plain_proxy(server.port, find_server) as port:
        with dial(port) as client:
            client.sendall(request(port))
            response = read_all(client)
        assert response.startswith(b"HTTP/1.1 502 ") and response.endswith(
            b"\r\n\r\nthe server has ended; start it\n"
        )
        has_ended = False
        assert status_of(port) == b"200"


def test_nothing_listens(tmp_path: Path) -> None:
    """A tunnel that has just been closed is reported with 502."""
    with tls_server(tmp_path, answer_requests(OK)) as server:
        pass
    with plain_proxy(server.port, lambda: server.server) as port:
        assert status_of(port) == b"502"


def test_waiting_for_the_tunnel(tmp_path: Path) -> None:
    """While the tunnel does not answer, a request waits; it is answered when the tunnel does."""
    with (
        tls_server(tmp_path, answer_requests(OK)) as server,
        socket.create_server((LOOPBACK, 0)) as tunnel,
        plain_proxy(tunnel.getsockname()[1], lambda: server.server) as port,
        dial(port) as client,
    ):
        client.sendall(request(port))
        peer, _ = tunnel.accept()
        hello = peer.recv(65536)
        with peer, dial(server.port) as behind:
            behind.sendall(hello)
            pipes = [threading.Thread(target=pipe, args=ends) for ends in ((peer, behind), (behind, peer))]
            for thread in pipes:
                thread.start()
            assert client.recv(65536).endswith(b"ok")
            client.close()
            for thread in pipes:
                thread.join(TIMEOUT_S)


def pipe(source: socket.socket, destination: socket.socket) -> None:
    """Copy all data, then end it."""
    while block := source.recv(65536):
        destination.sendall(block)
    destination.shutdown(socket.SHUT_WR)


def test_half_closed_client(tmp_path: Path) -> None:
    """A client that ends its data after the request gets the whole response."""
    with plain_server(tmp_path, answer_requests(OK)) as port, dial(port) as client:
        client.sendall(request(port))
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).endswith(b"ok")


def test_abandoned_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that leaves while its request waits for the tunnel does not occupy a connection for long."""
    monkeypatch.setattr(client_connection, "ABANDONED_TIMEOUT_S", 0.1)
    with (
        tls_server(tmp_path, answer_requests(OK)) as server,
        socket.create_server((LOOPBACK, 0)) as tunnel,
        plain_proxy(tunnel.getsockname()[1], lambda: server.server) as port,
    ):
        with dial(port) as client:
            client.sendall(request(port))
            peer, _ = tunnel.accept()
        with peer:
            peer.settimeout(TIMEOUT_S)
            assert read_all(peer)  # the TLS handshake's first message, and then the end


def test_incomplete_response(tmp_path: Path) -> None:
    """If the connection to the server breaks off within a response, the client's is reset, not ended."""

    def break_off(tls_socket: ssl.SSLSocket) -> None:
        tls_socket.recv(65536)
        tls_socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    with plain_server(tmp_path, break_off) as port, dial(port) as client:
        client.sendall(request(port))
        with pytest.raises(ConnectionResetError):
            read_all(client)


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nHost:", b""], ids=["head", "idle"])
def test_slow_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """A client that does not complete a request in time is disconnected, however often it sends a byte."""
    monkeypatch.setattr(proxy, "CHECK_INTERVAL_S", 0.05)
    monkeypatch.setattr(client_connection, "HEAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr(client_connection, "IDLE_TIMEOUT_S", 0.2)
    with plain_server(tmp_path, answer_requests(OK)) as port, dial(port) as client:
        client.settimeout(0.02)
        received: list[bytes] = []

        def is_closed() -> bool:
            try:
                client.sendall(sent[:1])
                received.append(client.recv(65536))
            except TimeoutError:
                return False
            except OSError:
                return True
            return received[-1] == b""

        wait_until(is_closed, "the connection is closed")
        assert b"".join(received)[:12] == (b"HTTP/1.1 408" if sent else b"")


def test_busy_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose response takes long, or whose next request comes soon enough, is not disconnected."""
    monkeypatch.setattr(proxy, "CHECK_INTERVAL_S", 0.01)
    monkeypatch.setattr(client_connection, "IDLE_TIMEOUT_S", 1.5)
    proceed = threading.Event()

    def answer_late(tls_socket: ssl.SSLSocket) -> None:
        while tls_socket.recv(65536):
            proceed.wait(TIMEOUT_S)
            tls_socket.sendall(OK)

    with plain_server(tmp_path, answer_late) as port, dial(port) as client, dial(port) as idle:
        client.sendall(request(port))
        assert idle.recv(1) == b""  # the limit is over
        proceed.set()
        assert read(client, len(OK)) == OK
        for _ in range(6):
            client.sendall(request(port))
            assert read(client, len(OK)) == OK
            wait_until(elapsed(time.monotonic(), 0.3), "the client is idle for less than the limit")


def test_too_many_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit a client gets 503 at once, and a place when another leaves."""
    monkeypatch.setattr(proxy, "MAX_CONNECTIONS", 2)
    with plain_server(tmp_path, answer_requests(OK)) as port:
        with dial(port) as first, dial(port):
            first.sendall(request(port))
            assert read(first, len(OK)) == OK
            with dial(port) as third:
                assert third.recv(65536).startswith(b"HTTP/1.1 503 ")
        wait_until(lambda: status_of(port) == b"200", "there is a place")


def test_slow_reader(tmp_path: Path) -> None:
    """A client that does not read stops the server's data: the proxy keeps little of it."""
    sent = 0
    total = 64 * 1024 * 1024

    def send_much(tls_socket: ssl.SSLSocket) -> None:
        nonlocal sent
        tls_socket.recv(65536)
        tls_socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            sent += tls_socket.send(b"x" * 65536)

    with plain_server(tmp_path, send_much) as port, dial(port) as client:
        client.sendall(request(port, "/", "Connection: close"))
        head = client.recv(1)
        wait_for_stall(lambda: sent)
        assert sent < total / 2
        body = head + read_all(client)
        assert len(body.partition(b"\r\n\r\n")[2]) == total


def test_slow_server(tmp_path: Path) -> None:
    """A server that does not read stops the client's data."""
    proceed, total = threading.Event(), 64 * 1024 * 1024

    def read_late(tls_socket: ssl.SSLSocket) -> None:
        proceed.wait(TIMEOUT_S)
        data = b""
        while b"\r\n\r\n" not in data:
            data += tls_socket.recv(65536)
        received = len(data.partition(b"\r\n\r\n")[2])
        while received < total:
            received += len(tls_socket.recv(65536))
        tls_socket.sendall(OK)

    with plain_server(tmp_path, read_late) as port, dial(port) as client:
        client.sendall(request(port, "/", f"Content-Length: {total}").replace(b"GET", b"PUT"))
        sent = 0

        def send() -> None:
            nonlocal sent
            block = b"x" * 65536
            while sent < total:
                client.sendall(block)
                sent += len(block)

        thread = threading.Thread(target=send)
        thread.start()
        wait_for_stall(lambda: sent)
        assert sent < total / 2
        proceed.set()
        assert read(client, len(OK)) == OK
        thread.join(TIMEOUT_S)


def test_pipelined_requests(tmp_path: Path) -> None:
    """A client that sends requests without end, before it has a response, is stopped."""
    received = threading.Event()

    def never_answer(tls_socket: ssl.SSLSocket) -> None:
        while tls_socket.recv(65536):
            received.set()

    with plain_server(tmp_path, never_answer) as port, dial(port) as client:
        client.settimeout(1.0)
        sent, total, block = 0, 64 * 1024 * 1024, request(port) * 1000
        with contextlib.suppress(TimeoutError):
            while sent < total:
                sent += client.send(block)
        assert received.is_set() and sent < total / 2


def wait_for_stall(progress: Callable[[], int]) -> None:
    """Wait until a number no longer grows for about half a second."""
    last: list[int] = []

    def is_stalled() -> bool:
        last.append(progress())
        return len(last) > 50 and last[-1] == last[-50] != 0

    wait_until(is_stalled, "the sender is stopped")


def test_close(tmp_path: Path) -> None:
    """Closing the port ends its connections, those that wait for the tunnel too, and its thread."""
    with tls_server(tmp_path, answer_requests(OK)) as server, socket.create_server((LOOPBACK, 0)) as tunnel:
        with plain_proxy(tunnel.getsockname()[1], lambda: server.server) as port:
            idle, waiting = dial(port), dial(port)
            waiting.sendall(request(port))
            peer, _ = tunnel.accept()
        with idle, waiting, peer:
            for client in (idle, waiting):
                assert is_ended(client)
        with pytest.raises(ConnectionRefusedError):
            dial(port)
    assert not [thread for thread in threading.enumerate() if thread.name == "plain port"]


def is_ended(client: socket.socket) -> bool:
    """Whether the peer ends or resets the connection without data."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
