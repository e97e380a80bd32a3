"""Both ends are had to send small packets at once: the host's server is asked to, and the gateway's is acknowledged at once."""

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_WINDOW_ADJUST,
)

from notebooks_over_ssh.ssh.background_program import BackgroundProgram
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.protocol import packetizer as packets
from notebooks_over_ssh.ssh.protocol.channel import MAX_DATA_BYTES
from notebooks_over_ssh.ssh.protocol.tcp_latency import QUICKACK, connect_low_latency
from tests.kit.mitm_sshd import AsyncioThread
from tests.kit.nested_transports import NestedTransports
from tests.kit.proxied_tunnel import MB, ProxiedNetwork, running_workload
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK, Server, known_hosts_line
from tests.kit.two_hops import TIMEOUT_S, dial, echo_server, echoes, forwarding, read, read_all
from tests.kit.wait import wait_until


def reachable(client: Client, *options: str) -> Server:
    """A host of OpenSSH's, known and running."""
    host = client.server("host", *options)
    client.write_known_hosts(known_hosts_line(host.port, host.public_key))
    return host


def run(transport: Any) -> threading.Event:
    """Start a program on the host as a tunnel does; what is returned is set once it is over. It never answers."""
    over = threading.Event()
    received: list[dict[str, Any]] = []
    BackgroundProgram(transport, "server_status", {}, received.append, over.set).start()
    assert not received
    return over


def all_goes_on(connection: Connection, echo: int) -> None:
    """No stream is left, and the next one brings what is sent."""
    transport: Any = connection.transport
    wait_until(lambda: not transport._own_channels, "no stream is left")
    with forwarding(connection, echo) as (_, (port,)), dial(port) as peer:
        assert echoes(peer)


def test_each_way_that_is_found(proxied: ProxiedNetwork) -> None:
    """A tunnel asks the host for it whenever it has found a way: a program is run there, once."""

    def programs() -> int:
        return proxied.network.host.log.read_text().count("Starting session: command")

    with running_workload(proxied, MB):
        wait_until(lambda: programs() > 0, "the steps are in the log")
        before, logins = programs(), proxied.network.host.logins()
        proxied.first.cut()
        proxied.wait_for_outages(1)
        proxied.wait_until(lambda: programs() > before, "a program has run")
        assert proxied.network.host.logins() == logins + 1
        assert programs() == before + 1


def test_start_up_files_that_talk(client: Client, loop: AsyncioThread, tmp_path: Path) -> None:
    """Whatever a login shell prints and complains of before the program: nothing is kept of it, and the connection lives."""
    ran = tmp_path / "ran"
    command = f'echo "$SSH_ORIGINAL_COMMAND" >> {ran}; seq 9999; seq 9999 >&2; exit 3'
    host = reachable(client, f"ForceCommand {command}")
    with echo_server(loop) as echo, client.connected(host) as connection:
        assert run(connection.transport).wait(TIMEOUT_S)
        all_goes_on(connection, echo)
    assert ran.read_text().startswith("exec /bin/sh -c ")


def test_complaints(nested: NestedTransports) -> None:
    """What the start-up files complain of, however long, is nobody's, and the connection lives."""
    over = run(nested.transport)
    session = nested.peer.accept()
    assert session.kind == "session"
    assert nested.peer.expect(MSG_CHANNEL_REQUEST).startswith(b"\0\0\0\x04exec\0")
    nested.peer.expect(MSG_CHANNEL_EOF)
    for _ in range(8):
        for _ in range(8):
            nested.peer.send(
                MSG_CHANNEL_EXTENDED_DATA, session.local_id, 1, MAX_DATA_BYTES, bytes(MAX_DATA_BYTES)
            )
        nested.peer.expect(MSG_CHANNEL_WINDOW_ADJUST)
    nested.peer.data(session.local_id, b"welcome")
    nested.peer.send(MSG_CHANNEL_CLOSE, session.local_id)
    nested.peer.expect(MSG_CHANNEL_CLOSE)
    assert over.is_set()
    with dial(nested.port) as peer:
        opened = nested.peer.accept()
        nested.peer.data(opened.local_id, b"and on")
        assert read(peer, 6) == b"and on"


def test_no_session(client: Client, loop: AsyncioThread) -> None:
    """A host that lets nobody run anything leads on all the same."""
    host = reachable(client, "MaxSessions 0")
    with echo_server(loop) as echo, client.connected(host) as connection:
        assert run(connection.transport).wait(TIMEOUT_S)
        all_goes_on(connection, echo)


def test_connection_has_ended(client: Client) -> None:
    """Where the connection has ended meanwhile, that is for those to tell who look after it."""
    host = reachable(client)
    with client.connected(host) as connection:
        connection.transport.close()
        assert run(connection.transport).is_set()


class Recording(socket.socket):
    """Remembers how often it was told to put no acknowledgement off."""

    times = 0

    def setsockopt(self, *arguments: Any) -> None:
        self.times += arguments[1] == QUICKACK
        super().setsockopt(*arguments)


def test_acknowledged_at_once() -> None:
    """What comes in a small block is acknowledged at once, each time anew, since the system forgets it; a full one need not be."""
    with socket.create_server(("127.0.0.1", 0)) as listening, Recording() as source:
        source.connect(listening.getsockname())
        peer, _ = listening.accept()
        with peer:
            received = packets.BlockPacketizer(source)
            for number in (1, 2, 3):
                peer.sendall(b"SSH-2.0-peer\r\n")
                received.readline(TIMEOUT_S)
                assert source.times == number
            block = bytes(packets.QUICKACK_MAX_BYTES)
            peer.sendall(block)
            wait_until(lambda: len(source.recv(len(block), socket.MSG_PEEK)) == len(block), "all is there")
            received._receive()
            assert source.times == 3


def test_a_socket_that_is_full() -> None:
    """What the network has no room for is waited for, no longer than the socket's timeout, and nothing gets lost."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        sending = connect_low_latency(LOOPBACK, listening.getsockname()[1], TIMEOUT_S)
        receiving, _ = listening.accept()
    with sending, receiving:
        sending.settimeout(0.1)
        sent = b""
        with contextlib.suppress(TimeoutError):
            while len(sent) < 64 * MB:
                block = os.urandom(MAX_DATA_BYTES)
                sent += block[: sending.send(block)]
        assert len(sent) < 64 * MB, "it waits"
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(read_all(receiving)))
        reader.start()
        sending.settimeout(TIMEOUT_S)
        sending.sendall(b"the end")
        sending.shutdown(socket.SHUT_WR)
        reader.join(TIMEOUT_S)
        assert received == [sent + b"the end"]
        with pytest.raises(BrokenPipeError):
            sending.send(b"too late")
