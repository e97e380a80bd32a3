"""The forwarder carries bytes as a cable would, over two real hops."""

import hashlib
import os
import socket
from contextlib import ExitStack, suppress

import pytest

from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tunnel import FIRST_PORT, listen
from tests.kit.forwarding import ServeFunction
from tests.kit.two_hops import dial, forwarding, read_all
from tests.kit.wait import wait_until

LARGE = 8 * 1024 * 1024


def echo(peer: socket.socket) -> None:
    """Send back what comes, and end when it ends."""
    while block := peer.recv(65536):
        peer.sendall(block)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_carries_both_ways(connection: Connection, serve: ServeFunction, address: str) -> None:
    """What is sent comes back, on either loopback address."""
    with forwarding(connection, serve(echo)) as (_, (port,)), dial(port, address) as peer:
        peer.sendall(b"hello")
        assert peer.recv(100) == b"hello"


def test_reply_after_half_close(connection: Connection, serve: ServeFunction) -> None:
    """A server that answers only once the client has said all still gets its answer through."""
    sums = serve(lambda peer: peer.sendall(hashlib.sha256(read_all(peer)).digest()))
    sent = os.urandom(LARGE)
    with forwarding(connection, sums) as (_, (port,)), dial(port) as peer:
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        assert read_all(peer) == hashlib.sha256(sent).digest()


def test_upload_after_the_server_has_said_all(connection: Connection, serve: ServeFunction) -> None:
    """A client may go on sending when the server has closed its own direction."""
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
        wait_until(lambda: bool(received), "the target has had all")
    assert received == [sent]


def test_download_is_exact(connection: Connection, serve: ServeFunction) -> None:
    """No byte of a large download is lost or wrong, also when its end follows at once."""
    sent = os.urandom(LARGE)
    with forwarding(connection, serve(lambda peer: peer.sendall(sent))) as (_, (port,)), dial(port) as peer:
        assert read_all(peer) == sent


def test_a_refused_target_costs_one_connection(connection: Connection, serve: ServeFunction) -> None:
    """Where nothing listens a connection ends at once, and the next that finds something works."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        target = probe.getsockname()[1]
    with forwarding(connection, target) as (_, (port,)):
        with dial(port) as peer, suppress(ConnectionResetError):
            assert peer.recv(1) == b""
        with socket.create_server(("127.0.0.1", target)) as late, dial(port) as peer:
            accepted, _ = late.accept()
            with accepted:
                accepted.sendall(b"here now")
            assert read_all(peer) == b"here now"


def test_a_slow_reader_stalls_only_itself(connection: Connection, serve: ServeFunction) -> None:
    """While one connection is not read, others are served."""
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
    """A hundred connections are open together, each with its own bytes."""
    with forwarding(connection, serve(echo)) as (_, (port,)), ExitStack() as stack:
        peers = [stack.enter_context(dial(port)) for _ in range(100)]
        for number, peer in enumerate(peers):
            peer.sendall(b"%5d" % number)
        assert [int(peer.recv(5)) for peer in peers] == list(range(100))


def test_closing_ends_connections_and_frees_the_port(connection: Connection, serve: ServeFunction) -> None:
    """When the forward ends, its connections are cut off, and the port can be taken again at once."""
    with ExitStack() as stack:
        with forwarding(connection, serve(echo)) as (_, (port,)):
            peer = stack.enter_context(dial(port))
            peer.sendall(b"x")
            assert peer.recv(1) == b"x"
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
        listen(port).close()


def test_a_taken_port_is_refused_with_its_holder() -> None:
    """A port given by name is not replaced by another; the message says who has it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"{port} is taken by .*process {os.getpid()}"):
            listen(port)


def test_a_port_taken_on_ipv6_is_taken() -> None:
    """A port counts as free only when both loopback addresses have it free: the browser may ask either."""
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6) as taken,
        pytest.raises(ConfigError, match="is taken"),
    ):
        listen(taken.getsockname()[1])


def test_the_first_free_port_is_taken() -> None:
    """With no port given, two listeners get two ports, from 8888 on."""
    first = listen(None)
    second = listen(None)
    try:
        assert FIRST_PORT <= first.port < second.port
    finally:
        first.close()
        second.close()
