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
from notebooks_over_ssh.ssh.protocol.channel import LARGEST_DATA
from notebooks_over_ssh.ssh.protocol.tcp_latency import QUICKACK, prompt_socket
from tests.openssh.network import LOOPBACK, Server, known_hosts_line, wait_until
from tests.proofs.client import Client
from tests.proofs.impostor import Loop
from tests.tunnel.hops import PATIENCE_S, answers, dial, echo_server, forwarded, read, read_all
from tests.tunnel.lines import Lines
from tests.tunnel.way import MB, Way, working


def reachable(client: Client, *options: str) -> Server:
    """A host of OpenSSH's, known and running."""
    host = client.server("host", *options)
    client.know(known_hosts_line(host.port, host.public_key))
    return host


def run(transport: Any) -> threading.Event:
    """Start a program on the host as a tunnel does; what is returned is set once it is over. It never answers."""
    over = threading.Event()
    heard: list[dict[str, Any]] = []
    BackgroundProgram(transport, "server_status", {}, heard.append, over.set).start()
    assert not heard
    return over


def all_goes_on(connection: Connection, echo: int) -> None:
    """No stream is left, and the next one brings what is sent."""
    transport: Any = connection.transport
    wait_until(lambda: not transport._streams, PATIENCE_S, "no stream is left")
    with forwarded(connection, echo) as (_, (port,)), dial(port) as peer:
        assert answers(peer)


def test_each_way_that_is_found(way: Way) -> None:
    """A tunnel asks the host for it whenever it has found a way: a program is run there, once."""

    def programs() -> int:
        return way.network.host.log.read_text().count("Starting session: command")

    with working(way, MB):
        wait_until(lambda: programs() > 0, PATIENCE_S, "the steps are in the log")
        before, logins = programs(), way.network.host.logins()
        way.first.cut()
        way.wait_until_noticed(1)
        way.wait_until(lambda: programs() > before, "a program has run")
        assert way.network.host.logins() == logins + 1
        assert programs() == before + 1


def test_start_up_files_that_talk(client: Client, loop: Loop, tmp_path: Path) -> None:
    """Whatever a login shell prints and complains of before the program: nothing is kept of it, and the connection lives."""
    ran = tmp_path / "ran"
    command = f'echo "$SSH_ORIGINAL_COMMAND" >> {ran}; seq 9999; seq 9999 >&2; exit 3'
    host = reachable(client, f"ForceCommand {command}")
    with echo_server(loop) as echo, client.reached(host) as connection:
        assert run(connection.transport).wait(PATIENCE_S)
        all_goes_on(connection, echo)
    assert ran.read_text().startswith("exec /bin/sh -c ")


def test_complaints(lines: Lines) -> None:
    """What the start-up files complain of, however long, is nobody's, and the connection lives."""
    over = run(lines.transport)
    session = lines.end.accept()
    assert session.kind == "session"
    assert lines.end.hears(MSG_CHANNEL_REQUEST).startswith(b"\0\0\0\x04exec\0")
    lines.end.hears(MSG_CHANNEL_EOF)
    for _ in range(8):
        for _ in range(8):
            lines.end.say(MSG_CHANNEL_EXTENDED_DATA, session.number, 1, LARGEST_DATA, bytes(LARGEST_DATA))
        lines.end.hears(MSG_CHANNEL_WINDOW_ADJUST)
    lines.end.data(session.number, b"welcome")
    lines.end.say(MSG_CHANNEL_CLOSE, session.number)
    lines.end.hears(MSG_CHANNEL_CLOSE)
    assert over.is_set()
    with dial(lines.port) as peer:
        opened = lines.end.accept()
        lines.end.data(opened.number, b"and on")
        assert read(peer, 6) == b"and on"


def test_no_session(client: Client, loop: Loop) -> None:
    """A host that lets nobody run anything leads on all the same."""
    host = reachable(client, "MaxSessions 0")
    with echo_server(loop) as echo, client.reached(host) as connection:
        assert run(connection.transport).wait(PATIENCE_S)
        all_goes_on(connection, echo)


def test_connection_has_ended(client: Client) -> None:
    """Where the connection has ended meanwhile, that is for those to tell who look after it."""
    host = reachable(client)
    with client.reached(host) as connection:
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
            received = packets.Packets(source)
            for number in (1, 2, 3):
                peer.sendall(b"a line\n")
                received.readline(PATIENCE_S)
                assert source.times == number
            block = bytes(packets.SMALL)
            peer.sendall(block)
            wait_until(
                lambda: len(source.recv(len(block), socket.MSG_PEEK)) == len(block),
                PATIENCE_S,
                "all is there",
            )
            received._receive()
            assert source.times == 3


def test_a_socket_that_is_full() -> None:
    """What the network has no room for is waited for, no longer than the socket's timeout, and nothing gets lost."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        sending = prompt_socket(LOOPBACK, listening.getsockname()[1], PATIENCE_S)
        receiving, _ = listening.accept()
    with sending, receiving:
        sending.settimeout(0.1)
        sent = b""
        with contextlib.suppress(TimeoutError):
            while len(sent) < 64 * MB:
                block = os.urandom(LARGEST_DATA)
                sent += block[: sending.send(block)]
        assert len(sent) < 64 * MB, "it waits"
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(read_all(receiving)))
        reader.start()
        sending.settimeout(PATIENCE_S)
        sending.sendall(b"the end")
        sending.shutdown(socket.SHUT_WR)
        reader.join(PATIENCE_S)
        assert received == [sent + b"the end"]
        with pytest.raises(BrokenPipeError):
            sending.send(b"too late")
