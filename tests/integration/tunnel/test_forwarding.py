"""The forwarder carries bytes like a direct TCP connection, over two real hops."""

import hashlib
import os
import socket
from contextlib import ExitStack, suppress

import pytest

from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tunnel import FIRST_PORT, listen
from tests.kit.forwarding import ServeFunction
from tests.kit.sockets import dial, echo, read_all
from tests.kit.two_hops import forwarding
from tests.kit.wait import wait_until

LARGE = 8 * 1024 * 1024


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_echo(connection: Connection, serve: ServeFunction, address: str) -> None:
    """What is sent comes back, on either loopback address."""
    with forwarding(connection, serve(echo)) as (_, (port,)), dial(port, address) as peer:
        peer.sendall(b"hello")
        assert peer.recv(100) == b"hello"


def test_reply_after_half_close(connection: Connection, serve: ServeFunction) -> None:
    """A server that answers only after the client's half-close still gets its answer through."""
    sums = serve(lambda peer: peer.sendall(hashlib.sha256(read_all(peer)).digest()))
    sent = os.urandom(LARGE)
    with forwarding(connection, sums) as (_, (port,)), dial(port) as peer:
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        assert read_all(peer) == hashlib.sha256(sent).digest()


def test_upload_after_server_half_close(connection: Connection, serve: ServeFunction) -> None:
    """A client may keep sending after the server has half-closed."""
    received: list[bytes] = []

    def send_and_receive(peer: socket.socket) -> None:
        peer.sendall(b"begin")
        peer.shutdown(socket.SHUT_WR)
        received.append(read_all(peer))

    sent = os.urandom(LARGE)
    listening = serve(send_and_receive)
    with forwarding(connection, listening) as (_, (port,)):
        with dial(port) as peer:
            assert read_all(peer) == b"begin"
            peer.sendall(sent)
            peer.shutdown(socket.SHUT_WR)
            assert peer.recv(1) == b""
        wait_until(lambda: bool(received), "the target has received everything")
    assert received == [sent]


def test_download_is_exact(connection: Connection, serve: ServeFunction) -> None:
    """A large download arrives without a lost or wrong byte, although EOF follows at once."""
    sent = os.urandom(LARGE)
    with forwarding(connection, serve(lambda peer: peer.sendall(sent))) as (_, (port,)), dial(port) as peer:
        assert read_all(peer) == sent


def test_refused_connection(connection: Connection, serve: ServeFunction) -> None:
    """Where nothing listens the connection ends at once, and the next to a listening server works."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        target = probe.getsockname()[1]
    with forwarding(connection, target) as (_, (port,)):
        with dial(port) as peer, suppress(ConnectionResetError):
            assert peer.recv(1) == b""
        with socket.create_server(("127.0.0.1", target)) as late, dial(port) as peer:
            server_end, _ = late.accept()
            with server_end:
                server_end.sendall(b"here now")
            assert read_all(peer) == b"here now"


def test_slow_reader_stalls_only_itself(connection: Connection, serve: ServeFunction) -> None:
    """While one connection is not read, others work."""
    chunk = os.urandom(65536)

    def flood(peer: socket.socket) -> None:
        for _ in range(1024):
            peer.sendall(chunk)

    flooded, echoed = serve(flood), serve(echo)
    with (
        forwarding(connection, flooded) as (_, (first,)),
        forwarding(connection, echoed) as (_, (second,)),
        dial(first) as stalled,
        dial(second) as peer,
    ):
        stalled.recv(1)
        for _ in range(20):
            peer.sendall(b"ping")
            assert peer.recv(4) == b"ping"


def test_many_at_once(connection: Connection, serve: ServeFunction) -> None:
    """A hundred connections are open at once, each with its own bytes."""
    with forwarding(connection, serve(echo)) as (_, (port,)), ExitStack() as stack:
        peers = [stack.enter_context(dial(port)) for _ in range(100)]
        for number, peer in enumerate(peers):
            peer.sendall(b"%5d" % number)
        assert [int(peer.recv(5)) for peer in peers] == list(range(100))


def test_close_frees_the_port(connection: Connection, serve: ServeFunction) -> None:
    """Closing the forwarder ends its connections, and the port can be bound again at once."""
    with ExitStack() as stack:
        with forwarding(connection, serve(echo)) as (_, (port,)):
            peer = stack.enter_context(dial(port))
            peer.sendall(b"x")
            assert peer.recv(1) == b"x"
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
        listen(port).close()


def test_taken_port_is_refused() -> None:
    """A port that the user chose is not replaced by another; the error names the program that has it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"{port} is taken by .*process {os.getpid()}"):
            listen(port)


def test_port_taken_on_ipv6() -> None:
    """A port counts as free only if it is free on both loopback addresses, as a browser may use either."""
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6) as other,
        pytest.raises(ConfigError, match="is taken"),
    ):
        listen(other.getsockname()[1])


def test_first_free_port() -> None:
    """Without a chosen port, two listeners get the first two free ports from 8888 on."""
    first = listen(None)
    second = listen(None)
    try:
        assert FIRST_PORT <= first.port < second.port
    finally:
        first.close()
        second.close()
