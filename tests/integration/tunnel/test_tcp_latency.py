"""Small packets are sent at once at both ends: the host's sshd disables Nagle's algorithm, the gateway's gets quick
ACKs.
"""

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
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
from tests.kit.sockets import TIMEOUT_S, dial, echoes, read, read_all
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK, Server
from tests.kit.two_hops import echo_server, forwarding
from tests.kit.wait import wait_until


def reachable(client: Client, *options: str) -> Server:
    """A running host with OpenSSH, and its key in known_hosts."""
    host = client.server("host", *options)
    client.write_known_hosts(host.known_hosts_line)
    return host


def run(transport: Any) -> threading.Event:
    """Start a program on the host as a tunnel does; the returned event is set once it has ended. It never replies."""
    over = threading.Event()
    received: list[dict[str, Any]] = []
    BackgroundProgram(transport, "server_status", {}, received.append, over.set).start()
    assert not received
    return over


def assert_works(connection: Connection, echo: int) -> None:
    """No channel is left, and a new one works."""
    transport: Any = connection.transport
    wait_until(lambda: not transport._own_channels, "no channel is left")
    with forwarding(connection, echo) as (_, (port,)), dial(port) as peer:
        assert echoes(peer)


def test_once_per_connection(proxied: ProxiedNetwork) -> None:
    """For each connection that it makes, the tunnel runs one program on the host, and starts one command that waits."""

    host = proxied.network.host

    def programs() -> int:
        return host.log.read_text().count("Starting session: command")

    with running_workload(proxied, MB):
        wait_until(host.waiting_commands, "the command waits")
        before, logins = programs(), host.logins()
        proxied.first.cut()
        proxied.wait_for_outages(1)
        proxied.wait_until(lambda: programs() >= before + 2, "both have started")
        assert host.logins() == logins + 1
        assert programs() == before + 2


def test_noisy_start_up_files(client: Client, loop: AsyncioThread, tmp_path: Path) -> None:
    """Whatever a login shell prints before the program is discarded, and the connection survives."""
    ran = tmp_path / "ran"
    command = f'echo "$SSH_ORIGINAL_COMMAND" >> {ran}; seq 9999; seq 9999 >&2; exit 3'
    host = reachable(client, f"ForceCommand {command}")
    with echo_server(loop) as echo, client.connected(host) as connection:
        assert run(connection.transport).wait(TIMEOUT_S)
        assert_works(connection, echo)
    assert ran.read_text().startswith("exec /bin/sh -c ")


def test_stderr_of_start_up_files(nested: NestedTransports) -> None:
    """Errors of the start-up files, however long, are discarded, and the connection survives."""
    over = run(nested.transport)
    session = nested.peer.accept()
    assert session.kind == "session"
    assert nested.peer.expect(MSG_CHANNEL_REQUEST).startswith(b"\0\0\0\x04exec\0")
    nested.peer.expect(MSG_CHANNEL_DATA)
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
        channel = nested.peer.accept()
        nested.peer.data(channel.local_id, b"and on")
        assert read(peer, 6) == b"and on"


def test_sessions_forbidden(client: Client, loop: AsyncioThread) -> None:
    """A host that permits no session still forwards."""
    host = reachable(client, "MaxSessions 0")
    with echo_server(loop) as echo, client.connected(host) as connection:
        assert run(connection.transport).wait(TIMEOUT_S)
        assert_works(connection, echo)


def test_connection_has_ended(client: Client) -> None:
    """Where the connection has ended meanwhile, no error is raised: others report that."""
    host = reachable(client)
    with client.connected(host) as connection:
        connection.transport.close()
        assert run(connection.transport).is_set()


class Recording(socket.socket):
    """Counts the calls of quick_ack."""

    times = 0

    def setsockopt(self, *arguments: Any) -> None:
        self.times += arguments[1] == QUICKACK
        super().setsockopt(*arguments)


def test_quick_ack() -> None:
    """A small block is acknowledged at once, each time anew since the kernel resets the option; a full block need not
    be.
    """
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
            wait_until(
                lambda: len(source.recv(len(block), socket.MSG_PEEK)) == len(block), "the block has arrived"
            )
            received._receive()
            assert source.times == 3


def test_full_socket() -> None:
    """Sending waits for a full socket, at most for the socket's timeout, and loses nothing."""
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
        assert len(sent) < 64 * MB, "sending is blocked"
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
