"""Where a host forbids forwarding, the error says so, or a program on the host relays connections as sshd would."""

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import psutil
import pytest

from notebooks_over_ssh.errors import ConnectError
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tunnel.relay import forwarding_refusal, use_relay
from tests.kit.cli import assert_error, assert_success, kill
from tests.kit.forwarding import ServeFunction
from tests.kit.https_probe import probe
from tests.kit.leaks import command_line
from tests.kit.proxied_tunnel import ProxiedNetwork
from tests.kit.sockets import TIMEOUT_S, dial, echo, echoes, read_all
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK, Network
from tests.kit.two_hops import TwoHops, forwarding
from tests.kit.wait import wait_until

MB = 1024 * 1024
REFUSAL = "administratively prohibited"
OPTIONS = ["AllowTcpForwarding no", "DisableForwarding yes", f"PermitOpen {LOOPBACK}:1"]


@pytest.fixture
def relayed(client: Client) -> Iterator[Connection]:
    """A Connection to a host that forbids forwarding, where a program relays connections."""
    hops = TwoHops(client)
    hops.host.stop()
    hops.host.start("AllowTcpForwarding no")
    with hops.connected() as connection:
        expect_error = forwarding_refusal(connection, 1)
        assert expect_error == REFUSAL
        use_relay(connection, expect_error)
        yield connection


def programs(network: Network) -> list[psutil.Process]:
    """The programs on the host that belong to a tunnel, as long as it lives."""
    host = network.host.children()
    return [process for process in host if {"-X", "-c"} <= set(command_line(process))]


@pytest.mark.parametrize("option", OPTIONS)
def test_up_relays(network: Network, option: str) -> None:
    """`up` reports the refusal and opens a tunnel all the same; doctor reports it; `stop` leaves nothing."""
    network.host.stop()
    network.host.start(option, network.environment())
    result = assert_success(network.user.fab("up", "--detach"))
    assert REFUSAL in result.stdout, result.stdout
    session = network.user.only_session()
    assert (session["server"], session["tunnel"]) == ("running", "open")
    reply = probe(network.user, session["local_port"])
    assert reply.certificate_sha256 == session["certificate_sha256"]
    assert "version" in reply.answer
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()


def test_relay_is_refused(network: Network) -> None:
    """Where the host also stops running programs, the error names the refusal, has a hint, and exits with 3."""
    assert_success(network.user.fab("secure"))
    assert_success(network.user.fab("serve"))
    network.host.stop()
    network.host.start(
        "AllowTcpForwarding no", "ForceCommand echo 'No programs here.'", network.environment()
    )
    result = assert_error(
        network.user.fab("tunnel", "--no-browser"), 3, REFUSAL, "the program that replaces it"
    )
    assert "AllowTcpForwarding" in result.stderr
    network.host.stop()
    network.host.start(network.environment())
    assert_success(network.user.fab("stop"))


def test_relay_is_killed(proxied: ProxiedNetwork) -> None:
    """When the program on the host dies, the tunnel comes back at the same address with a new one."""
    network = proxied.network
    network.host.stop()
    network.host.start("AllowTcpForwarding no", network.environment())
    try:
        assert_success(network.user.fab("up", "--detach"))
        port = network.user.only_session()["local_port"]
        # The relay starts before the program that watches the server.
        program = min(programs(network), key=psutil.Process.create_time)
        kill(program.pid)
        proxied.wait_for_outages(1)
        assert "version" in probe(network.user, port).answer
        assert program not in programs(network)
    finally:
        assert_success(network.user.fab("stop", "--force"))


def test_next_server_after_a_reconnect(proxied: ProxiedNetwork) -> None:
    """When the connection is lost while no server runs, the next server is reached at the same address all the same."""
    network = proxied.network
    network.host.stop()
    network.host.start("AllowTcpForwarding no", network.environment())
    try:
        assert_success(network.user.fab("up", "--detach"))
        session = network.user.only_session()
        psutil.Process(session["pid"]).kill()
        wait_until(lambda: network.user.only_session()["tunnel"] == "reconnecting", "the end is noticed")
        (relay, *_) = programs(network)
        kill(relay.pid)
        for login in network.host.children():
            with suppress(psutil.NoSuchProcess):
                login.kill()
        proxied.wait_until(lambda: "reconnected" in proxied.log(), "it is connected again")
        assert_success(network.user.fab("serve"))
        wait_until(
            lambda: network.user.only_session()["tunnel"] == "open", "the tunnel leads to the next one"
        )
        assert "version" in probe(network.user, session["local_port"]).answer
    finally:
        assert_success(network.user.fab("stop", "--force"))


def test_closed_port_is_no_refusal(client: Client) -> None:
    """A port on which nothing listens does not count as forbidden forwarding."""
    with TwoHops(client).connected() as connection, socket.create_server((LOOPBACK, 0)) as probe:
        port = probe.getsockname()[1]
        assert forwarding_refusal(connection, port) == ""
        probe.close()
        assert forwarding_refusal(connection, port) == ""


def test_upload_and_reply_after_half_close(relayed: Connection, serve: ServeFunction) -> None:
    """A server that answers only after the whole upload gets all of it, and its answer arrives."""
    sums = serve(lambda peer: peer.sendall(hashlib.sha256(read_all(peer)).digest()))
    sent = os.urandom(16 * MB)
    with forwarding(relayed, sums) as (_, (port,)), dial(port) as peer:
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        assert read_all(peer) == hashlib.sha256(sent).digest()


def test_upload_after_server_half_close(relayed: Connection, serve: ServeFunction) -> None:
    """A client may keep sending after the server has half-closed."""
    received: list[bytes] = []

    def end_and_read(peer: socket.socket) -> None:
        peer.sendall(b"begin")
        peer.shutdown(socket.SHUT_WR)
        received.append(read_all(peer))

    sent = os.urandom(4 * MB)
    with forwarding(relayed, serve(end_and_read)) as (_, (port,)), dial(port) as peer:
        assert read_all(peer) == b"begin"
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        wait_until(lambda: bool(received), "the server has received all")
    assert received == [sent]


def test_download_is_exact(relayed: Connection, serve: ServeFunction) -> None:
    """A large download arrives without a lost or wrong byte, although EOF follows at once."""
    sent = os.urandom(16 * MB)
    with forwarding(relayed, serve(lambda peer: peer.sendall(sent))) as (_, (port,)), dial(port) as peer:
        assert read_all(peer) == sent


def test_reset_is_forwarded(relayed: Connection, serve: ServeFunction) -> None:
    """When the server resets a connection, so does the tunnel, so that the client does not take it for complete."""

    def cut(peer: socket.socket) -> None:
        peer.sendall(b"begin")
        peer.recv(1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()

    with forwarding(relayed, serve(cut)) as (_, (port,)), dial(port) as peer:
        assert peer.recv(5) == b"begin"
        peer.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            peer.recv(1)


def test_refused_connection(relayed: Connection, serve: ServeFunction) -> None:
    """A refused connection affects no other."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        target = probe.getsockname()[1]
    with forwarding(relayed, target, serve(echo)) as (_, (port, echoed)):
        with dial(port) as peer, suppress(ConnectionResetError):
            assert peer.recv(1) == b""
        with dial(echoed) as peer:
            assert echoes(peer)


def test_slow_readers_stall_only_themselves(relayed: Connection, serve: ServeFunction) -> None:
    """While one side of a connection does not read, little is buffered for it, and other connections work."""
    chunk = os.urandom(65536)

    def flood(peer: socket.socket) -> None:
        for _ in range(1024):
            peer.sendall(chunk)

    reads_on = threading.Event()

    def read_late(peer: socket.socket) -> None:
        reads_on.wait(TIMEOUT_S)
        read_all(peer)

    targets = serve(flood), serve(read_late), serve(echo)
    with forwarding(relayed, *targets) as (_, (first, second, third)), ExitStack() as stack:
        stalled, unread, peer = (stack.enter_context(dial(port)) for port in (first, second, third))
        stalled.recv(1)
        unread.settimeout(1)
        with pytest.raises(TimeoutError):  # would succeed if all of it were buffered
            unread.sendall(bytes(64 * MB))
        for _ in range(20):
            assert echoes(peer)
        reads_on.set()


def test_many_at_once(relayed: Connection, serve: ServeFunction) -> None:
    """A hundred connections are open at once, more than MaxSessions allows sessions, each with its own bytes."""
    with forwarding(relayed, serve(echo)) as (_, (port,)), ExitStack() as stack:
        peers = [stack.enter_context(dial(port)) for _ in range(100)]
        for number, peer in enumerate(peers):
            peer.sendall(b"%5d" % number)
        assert [int(peer.recv(5)) for peer in peers] == list(range(100))


def test_unexpected_program(client: Client) -> None:
    """A program that is not the relay is an error, and only the beginning of its output is kept."""
    host = client.server("host", "AllowTcpForwarding no", "ForceCommand yes")
    client.write_known_hosts(host.known_hosts_line)
    with client.connected(host) as connection, pytest.raises(ConnectError, match="something else runs"):
        use_relay(connection, REFUSAL)
