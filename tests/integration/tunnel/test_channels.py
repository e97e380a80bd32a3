"""Every connection through the tunnel behaves like a direct TCP connection, whatever happens to the others."""

import errno
import gc
import hashlib
import os
import random
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import psutil
import pytest

from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.connections import close, close_all, release
from notebooks_over_ssh.tunnel import Forwarder, Listener, listen
from notebooks_over_ssh.tunnel.event_loop import EventLoopThread
from notebooks_over_ssh.tunnel.forwarded_connection import ForwardedConnection, reset
from tests.kit.forwarding import ServeFunction
from tests.kit.mitm_sshd import AsyncioThread
from tests.kit.ports import free_port
from tests.kit.sockets import TIMEOUT_S, dial, echoes, read, read_all
from tests.kit.ssh_client import Client
from tests.kit.two_hops import TwoHops, echo_server, forwarding
from tests.kit.wait import wait_until

MB = 1024 * 1024
MAX_OPEN = 500
OPERATIONS = 4000
# What one transfer may buffer: the windows of both layers, and data between the threads.
MEMORY = 48 * MB


@pytest.fixture
def hops(client: Client) -> TwoHops:
    """Two running hops."""
    return TwoHops(client)


@pytest.fixture
def connection(hops: TwoHops) -> Iterator[Connection]:
    """The Connection through them."""
    with hops.connected() as connection:
        yield connection


@pytest.fixture
def echo(loop: AsyncioThread) -> Iterator[int]:
    """The port of an echo server."""
    with echo_server(loop) as port:
        yield port


def wait(event: threading.Event) -> None:
    """Wait for an event."""
    event.wait(TIMEOUT_S)


def wait_until_clear(forwarder: Forwarder, connection: Connection) -> None:
    """Wait until the forwarder has no connection, and the transport no channel."""
    wait_until(lambda: not forwarder.connections, "no connection is left")
    wait_until(lambda: not connection.transport._own_channels, "no channel is left")


def test_reset_reaches_the_target(connection: Connection, serve: ServeFunction) -> None:
    """A client that resets its connection ends it for the target, whether the target reads or writes."""
    ends: list[str] = []

    def reads(peer: socket.socket) -> None:
        peer.sendall(b"ready")
        read_all(peer)
        ends.append("reads")

    def writes(peer: socket.socket) -> None:
        with suppress(ConnectionError):
            while True:
                peer.sendall(b"x" * 65536)
        ends.append("writes")

    with forwarding(connection, serve(reads), serve(writes)) as (forwarder, ports):
        for number, port in enumerate(ports, 1):
            peer = dial(port)
            assert peer.recv(5)
            reset(peer)
            wait_until(lambda: len(ends) == number, f"the target ends: {ends}")  # noqa: B023
        wait_until_clear(forwarder, connection)


@pytest.mark.parametrize("hop", ["gateway", "host"])
def test_hop_dies_during_download(hops: TwoHops, serve: ServeFunction, hop: str) -> None:
    """When a hop dies during a download, the client gets a reset, so that it never takes a partial download for a
    complete one.
    """

    def never_ends(peer: socket.socket) -> None:
        while True:
            peer.sendall(b"x" * 65536)

    with (
        hops.connected() as connection,
        forwarding(connection, serve(never_ends)) as (forwarder, (port,)),
        dial(port) as peer,
    ):
        assert len(read(peer, MB)) == MB
        getattr(hops, hop).kill()
        with pytest.raises(ConnectionResetError):
            read_all(peer)
        wait_until_clear(forwarder, connection)


def test_queued_connections_are_served(hops: TwoHops, echo: int) -> None:
    """Connections made without a transport, half-closed ones included, are served by the next transport."""
    listener = listen(free_port())
    with closing(Forwarder([(listener, echo)])) as forwarder, ExitStack() as stack:
        forwarder.start()
        talker, half_closed, leaver = (stack.enter_context(dial(listener.port)) for _ in range(3))
        half_closed.sendall(b"all I say")
        half_closed.shutdown(socket.SHUT_WR)
        leaver.close()
        for _ in range(2):
            with hops.connected() as connection:
                forwarder.set_transport(connection.transport)
                assert echoes(talker)
                assert read_all(half_closed) == b"all I say"
                forwarder.pause()
                with pytest.raises(ConnectionResetError):
                    read_all(talker)
            talker, half_closed = (stack.enter_context(dial(listener.port)) for _ in range(2))
            half_closed.sendall(b"all I say")
            half_closed.shutdown(socket.SHUT_WR)


def test_transport_that_ended_before_use(hops: TwoHops, echo: int) -> None:
    """A queued connection survives a transport that ends before it was used; the next one serves it."""
    listener = listen(free_port())
    with closing(Forwarder([(listener, echo)])) as forwarder, dial(listener.port) as waiting:
        forwarder.start()
        with hops.connected() as connection:
            over = connection.transport
        forwarder.set_transport(over)
        with hops.connected() as connection:
            forwarder.set_transport(connection.transport)
            assert echoes(waiting)


def test_transport_ends_during_open(hops: TwoHops, echo: int) -> None:
    """A connection that is being opened when the transport ends is served by the next one."""
    listener = listen(free_port())
    with closing(Forwarder([(listener, echo)])) as forwarder, ExitStack() as stack:
        forwarder.start()
        with hops.connected() as connection:
            forwarder.set_transport(connection.transport)
            with dial(listener.port) as peer:
                assert echoes(peer)
            process = psutil.Process(hops.host.children()[0].pid)
            process.suspend()
            peers = [stack.enter_context(dial(listener.port)) for _ in range(20)]
            wait_until(lambda: len(forwarder.connections) >= 20, "all connections are queued")
            process.kill()
            wait_until(lambda: not connection.transport.is_active(), "the transport has ended")
        with hops.connected() as connection:
            forwarder.set_transport(connection.transport)
            assert all(echoes(peer) for peer in peers)


def test_another_transport_while_the_program_connects(hops: TwoHops, echo: int) -> None:
    """A connection that the program itself opens over one transport is not reset when another takes over."""
    with hops.connected() as first, forwarding(first, echo) as (forwarder, (port,)):
        release(first)
        processes = hops.host.children()
        for process in processes:
            process.suspend()
        with closing(forwarder.open_connection(first.transport, echo)) as opening:
            opening.settimeout(TIMEOUT_S)
            wait_until(lambda: forwarder.connections, "it asks to be let through")
            with hops.connected() as second:
                forwarder.set_transport(second.transport)
                with dial(port) as peer:
                    assert echoes(peer)
                for process in processes:
                    process.resume()
                assert echoes(opening)
        close(first)


def test_reset_reaches_earlier_transports(hops: TwoHops, echo: int) -> None:
    """Resetting a target resets its connections on every transport, not only on the current one."""
    with hops.connected() as first, forwarding(first, echo) as (forwarder, (port,)):
        release(first)
        with dial(port) as earlier, hops.connected() as second:
            assert echoes(earlier)
            forwarder.set_transport(second.transport)
            with dial(port) as later:
                assert echoes(later)
                assert echoes(earlier), "it stays on its transport"
                forwarder.reset_target(forwarder.targets[0])
                for peer in (earlier, later):
                    with pytest.raises(ConnectionResetError):
                        peer.recv(1)
        close(first)


def test_one_thread_opens_connections(connection: Connection, echo: int) -> None:
    """The thread that forwards a connection also accepts and opens it: each hand-over costs a thread switch."""
    with forwarding(connection, echo) as (forwarder, (port,)), ExitStack() as stack:
        with dial(port) as first:
            assert echoes(first)
        go_on = threading.Event()
        stack.callback(go_on.set)
        forwarder.event_loop.call_soon_threadsafe(lambda: wait(go_on))
        with dial(port) as peer:
            assert echoes(peer)


class _Full(socket.socket):
    """A listening socket whose accept fails with EMFILE while `is_full`."""

    is_full = False

    def accept(self) -> tuple[socket.socket, Any]:
        if self.is_full:
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


def test_out_of_file_descriptors(connection: Connection, echo: int) -> None:
    """Without a free file descriptor, a new connection waits until an open one ends."""
    listener = listen(free_port())
    full = _Full(fileno=listener.sockets[0].detach())
    listener = Listener(listener.port, (full, *listener.sockets[1:]))
    with closing(Forwarder([(listener, echo)])) as forwarder, ExitStack() as stack:
        forwarder.set_transport(connection.transport)
        forwarder.start()
        first = stack.enter_context(dial(listener.port))
        assert echoes(first)
        full.is_full = True
        second = stack.enter_context(dial(listener.port))
        wait_until(lambda: forwarder._acceptor is None, "accepting is paused")
        full.is_full = False
        first.close()
        assert echoes(second)


def test_wakes_only_a_sleeping_loop() -> None:
    """A call_soon makes a system call only if the loop sleeps, and only one until it wakes."""
    go_on, finished = threading.Event(), threading.Event()
    with closing(EventLoopThread()) as event_loop:
        event_loop.call_soon_threadsafe(lambda: wait(go_on))
        wait_until(lambda: not event_loop._callbacks, "the loop has run the callback")
        for _ in range(100):
            event_loop.call_soon_threadsafe(lambda: None)
        event_loop.call_soon_threadsafe(finished.set)
        with pytest.raises(BlockingIOError):
            event_loop._wakeup_receiver.recv(1, socket.MSG_PEEK)
        go_on.set()
        assert finished.wait(TIMEOUT_S)


def test_unverified_target_queues(connection: Connection, serve: ServeFunction) -> None:
    """A connection to a target that loses its verification before the channel opens is queued."""
    peers: list[socket.socket] = []

    def talk(peer: socket.socket) -> None:
        peers.append(peer)
        while block := peer.recv(65536):
            peer.sendall(block)

    with forwarding(connection, serve(talk)) as (forwarder, (port,)), ExitStack() as stack:
        (target,) = forwarder.targets
        is_proven, requested, arrived, go_on = False, threading.Event(), threading.Event(), threading.Event()
        target.is_verified, target.on_queued = lambda: is_proven, requested.set
        peer = stack.enter_context(dial(port))
        assert requested.wait(TIMEOUT_S)
        requested.clear()
        stack.callback(go_on.set)
        assert forwarder._current is not None
        forwarder._current.event_loop.call_soon_threadsafe(lambda: wait(go_on))
        is_proven = True
        forwarder.serve_queued()
        forwarder.event_loop.call_soon_threadsafe(arrived.set)
        assert arrived.wait(TIMEOUT_S)
        is_proven = False
        forwarder.reset_target(target)
        go_on.set()
        assert requested.wait(TIMEOUT_S), "it is queued"
        is_proven = True
        forwarder.serve_queued()
        assert echoes(peer)
        assert len(peers) == 1


def test_simultaneous_half_close(connection: Connection, serve: ServeFunction) -> None:
    """When both sides send all their data and half-close at the same time, both receive everything."""
    upload, download = os.urandom(8 * MB), os.urandom(8 * MB + 1)
    received: list[bytes] = []

    def talk(peer: socket.socket) -> None:
        sending = threading.Thread(target=_send_all, args=(peer, download))
        sending.start()
        received.append(read_all(peer))
        sending.join(TIMEOUT_S)

    with forwarding(connection, serve(talk)) as (forwarder, (port,)):
        with dial(port) as peer:
            sending = threading.Thread(target=_send_all, args=(peer, upload))
            sending.start()
            assert read_all(peer) == download
            sending.join(TIMEOUT_S)
        wait_until(lambda: received, "the target has received everything")
        assert received == [upload]
        wait_until_clear(forwarder, connection)


def _send_all(peer: socket.socket, data: bytes) -> None:
    peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)


def test_300_at_once(connection: Connection, echo: int) -> None:
    """Three hundred connections are open at once, and each gets its own bytes."""
    with forwarding(connection, echo) as (forwarder, (port,)):
        with ExitStack() as stack:
            peers = [stack.enter_context(dial(port)) for _ in range(300)]
            messages = [os.urandom(2000) for _ in peers]
            for peer, data in zip(peers, messages, strict=True):
                peer.sendall(data)
            for peer, data in zip(peers, messages, strict=True):
                assert read(peer, len(data)) == data
            assert len(forwarder.connections) == 300
        wait_until_clear(forwarder, connection)


def test_random_opens_and_closes(hops: TwoHops, echo: int) -> None:
    """Up to 500 connections are opened, used, half-closed, reset and closed at random: in the end neither this
    process nor the hops have anything left of them.
    """
    seed = random.randrange(10**9)
    print(f"random seed {seed}")
    chance = random.Random(seed)
    us = psutil.Process()
    with hops.connected() as connection, forwarding(connection, echo) as (forwarder, (port,)):
        with dial(port) as peer:
            assert echoes(peer)
        wait_until_clear(forwarder, connection)
        far = [server.children()[-1] for server in (hops.gateway, hops.host)]
        gc.collect()
        before = (us.num_fds(), us.num_threads(), len(connection.transport._channels))
        far_before = [process.num_fds() for process in far]
        peers: list[socket.socket] = []
        max_open = 0
        for number in range(OPERATIONS):
            # Mostly opens at first, mostly closes in the end.
            opens = 8 if number < OPERATIONS / 2 else 2
            violation = chance.choice(("open",) * opens + ("talk", "half", "reset", "close", "abandon"))
            if violation == "open" or not peers:
                if len(peers) < MAX_OPEN:
                    peers.append(dial(port))
                    max_open = max(max_open, len(peers))
                continue
            if violation == "talk":
                message = chance.randbytes(chance.choice((1, 100, 5000)))
                assert echoes(chance.choice(peers), message)
                continue
            peer = peers.pop(chance.randrange(len(peers)))
            if violation == "half":
                message = chance.randbytes(3000)
                _send_all(peer, message)
                assert read_all(peer) == message
            elif violation == "abandon":
                peer.sendall(chance.randbytes(60_000))
            (reset if violation == "reset" else socket.socket.close)(peer)
        assert max_open == MAX_OPEN
        for peer in peers:
            (reset if chance.random() < 0.5 else socket.socket.close)(peer)
        wait_until_clear(forwarder, connection)
        peers.clear()

        def as_before() -> bool:
            gc.collect()
            return (us.num_fds(), us.num_threads(), len(connection.transport._channels)) == before

        wait_until(as_before, f"descriptors, threads and channels are {before} again")
        wait_until(
            lambda: [process.num_fds() for process in far] == far_before,
            "the hops' descriptors are as before",
        )
        with dial(port) as peer:
            assert echoes(peer)


@pytest.mark.parametrize("whose", ["theirs", "ours"])
def test_idle_through_keepalives(client: Client, echo: int, whose: str) -> None:
    """An idle connection still works after many keepalives, the servers' and ours."""
    alive = ("ClientAliveInterval 1", "ClientAliveCountMax 2") if whose == "theirs" else ()
    with (
        TwoHops(client, *alive).connected() as connection,
        forwarding(connection, echo) as (_, (port,)),
        dial(port) as peer,
    ):
        assert echoes(peer)
        packets = connection.transport.packetizer
        for _ in range(3):
            last_received_at = packets.last_received_at
            if whose == "ours":
                connection.transport.send_keepalive()
            wait_until(lambda: packets.last_received_at > last_received_at, "a keepalive came")  # noqa: B023
        assert connection.is_connected
        assert echoes(peer)


@pytest.mark.parametrize("max_buffered", [0, 64 * MB], ids=["", "64 MB kept here"])
def test_slow_reader_stalls_only_itself(
    hops: TwoHops, serve: ServeFunction, echo: int, max_buffered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While 80 MB wait for a client that does not read, other connections work, and this process buffers at most one
    window: hardly any data, or 64 MB where a path of high bandwidth and latency has grown the window to that.
    """
    if max_buffered:
        monkeypatch.setattr(ForwardedConnection, "INITIAL_WINDOW", max_buffered)
    sent = os.urandom(80 * MB)
    with (
        hops.connected() as connection,
        forwarding(connection, serve(lambda peer: peer.sendall(sent)), echo) as (
            forwarder,
            (flooded, echoed),
        ),
        dial(flooded) as stalled,
        dial(echoed) as peer,
    ):
        before = psutil.Process().memory_info().rss
        assert stalled.recv(1) == sent[:1]

        def waiting() -> int:
            return sum(len(block) for one in list(forwarder.connections) for block in list(one._backlog))

        wait_until(lambda: waiting() >= max_buffered * 0.9, "the window is used up")
        for _ in range(200):
            assert echoes(peer, os.urandom(3000))
        assert psutil.Process().memory_info().rss - before < MEMORY + 1.2 * max_buffered
        digest = hashlib.sha256(sent[:1])
        while block := stalled.recv(65536):
            digest.update(block)
        assert digest.digest() == hashlib.sha256(sent).digest()


def test_slow_target_stalls_only_itself(connection: Connection, serve: ServeFunction, echo: int) -> None:
    """While a target does not read an upload, other connections work; then it gets every byte."""
    sent = os.urandom(64 * MB)
    may_read = threading.Event()
    got: list[bytes] = []

    def slow(peer: socket.socket) -> None:
        may_read.wait(TIMEOUT_S)
        digest = hashlib.sha256()
        while block := peer.recv(65536):
            digest.update(block)
        got.append(digest.digest())

    with (
        forwarding(connection, serve(slow), echo) as (_, (slowed, echoed)),
        dial(slowed) as uploading,
        dial(echoed) as peer,
    ):
        before = psutil.Process().memory_info().rss
        sending = threading.Thread(target=_send_all, args=(uploading, sent))
        sending.start()
        wait_until(lambda: not _takes_more(uploading), "the upload is blocked")
        for _ in range(200):
            assert echoes(peer, os.urandom(3000))
        assert sending.is_alive()
        assert psutil.Process().memory_info().rss - before < MEMORY
        may_read.set()
        sending.join(TIMEOUT_S)
        wait_until(lambda: got, "the target has received everything")
    assert got == [hashlib.sha256(sent).digest()]


def _takes_more(peer: socket.socket) -> bool:
    return bool(select.select([], [peer], [], 1)[1])


def test_echo_under_load(connection: Connection, serve: ServeFunction, echo: int) -> None:
    """During a download and an upload at full speed, every echo comes back."""
    over = threading.Event()

    def pours(peer: socket.socket) -> None:
        while not over.is_set():
            peer.sendall(b"x" * 65536)

    def swallows(peer: socket.socket) -> None:
        while peer.recv(65536):
            pass

    def read_on(peer: socket.socket) -> None:
        with suppress(OSError):
            while not over.is_set() and peer.recv(65536):
                pass

    def write_on(peer: socket.socket) -> None:
        with suppress(OSError):
            while not over.is_set():
                peer.sendall(b"x" * 65536)

    with (
        forwarding(connection, serve(pours), serve(swallows), echo) as (_, (down, up, echoed)),
        dial(down) as download,
        dial(up) as upload,
        dial(echoed) as peer,
    ):
        loads = [
            threading.Thread(target=read_on, args=(download,)),
            threading.Thread(target=write_on, args=(upload,)),
        ]
        for load in loads:
            load.start()
        took = []
        try:
            for _ in range(100):
                began = time.monotonic()
                assert echoes(peer)
                took.append(time.monotonic() - began)
        finally:
            over.set()
            for load in loads:
                load.join(TIMEOUT_S)
    print(f"an echo under load took {sorted(took)[50] * 1000:.0f} ms, at most {max(took) * 1000:.0f} ms")


def test_close_does_not_wait(hops: TwoHops, serve: ServeFunction) -> None:
    """Closing all Connections does not wait for a path that accepts no more data."""

    def reads_nothing(peer: socket.socket) -> None:
        threading.Event().wait(1)

    with (
        hops.connected() as connection,
        forwarding(connection, serve(reads_nothing)) as (
            forwarder,
            (port,),
        ),
        dial(port) as peer,
    ):
        for server in (hops.gateway, hops.host):
            for process in server.children():
                process.suspend()
        peer.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                peer.send(b"x" * 65536)
        ending = threading.Thread(target=close_all)
        ending.start()
        ending.join(TIMEOUT_S)
        assert not ending.is_alive()
        for server in (hops.gateway, hops.host):
            for process in server.children():
                process.kill()
        wait_until(lambda: not forwarder.connections, "no connection is left")
