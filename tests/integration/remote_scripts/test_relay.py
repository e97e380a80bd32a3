"""The program that relays connections connects to its own host only, and ends with its standard input."""

import contextlib
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from paramiko.common import (
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_OPEN_SUCCESS,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_CONNECT_FAILED,
)

from notebooks_over_ssh.ssh.protocol.channel import direct_tcpip_payload
from tests.kit.local_scripts import MARKER, start_locally
from tests.kit.ports import free_port

pytestmark = pytest.mark.usefixtures("host_environment")

TIMEOUT_S = 30.0
Program = subprocess.Popen[bytes]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """The running program, as on a host."""
    with start_locally(tmp_path, "relay", {}) as process:
        assert process.stdin
        assert process.stdout
        while MARKER.encode() not in process.stdout.readline():
            assert process.poll() is None
        yield process
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait(TIMEOUT_S)


def open_reply(program: Program, host: str, port: int) -> tuple[int, int]:
    """The message type of the reply to an open, and the number after the channel's: for a failure, its code."""
    assert program.stdin
    assert program.stdout
    kind = b"direct-tcpip"
    message = struct.pack(">BI", MSG_CHANNEL_OPEN, len(kind)) + kind + struct.pack(">III", 7, 65536, 32768)
    message += direct_tcpip_payload((host, port), (host, 0))
    program.stdin.write(struct.pack(">I", len(message)) + message)
    program.stdin.flush()
    (size,) = struct.unpack(">I", program.stdout.read(4))
    reply, number, value = struct.unpack_from(">BII", program.stdout.read(size))
    assert number == 7
    return reply, value


def test_only_to_its_own_host(program: Program) -> None:
    """A connection to another address is refused, as is one to a closed port; others are made."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for host in ("192.0.2.1", "localhost.example.org", "0.0.0.0"):
            refusal = MSG_CHANNEL_OPEN_FAILURE, OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
            assert open_reply(program, host, port) == refusal
        failure = MSG_CHANNEL_OPEN_FAILURE, OPEN_FAILED_CONNECT_FAILED
        assert open_reply(program, "127.0.0.1", free_port()) == failure
        assert open_reply(program, "127.0.0.1", port)[0] == MSG_CHANNEL_OPEN_SUCCESS


def test_listens_nowhere(program: Program) -> None:
    """It has no listening port."""
    connections = psutil.Process(program.pid).net_connections("all")
    assert not [connection for connection in connections if connection.status == psutil.CONN_LISTEN]


def test_ends_with_its_input(program: Program) -> None:
    """When the session ends, so does the program, with its connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert open_reply(program, "127.0.0.1", server.getsockname()[1])[0] == MSG_CHANNEL_OPEN_SUCCESS
        peer, _ = server.accept()
        assert program.stdin
        program.stdin.close()
        assert program.wait(TIMEOUT_S) == 0
        peer.settimeout(TIMEOUT_S)
        with peer, contextlib.suppress(ConnectionResetError):
            assert peer.recv(1) == b""


def test_oversized_message(program: Program) -> None:
    """A message above the maximum size ends the program; nothing of it is kept."""
    assert program.stdin
    program.stdin.write(struct.pack(">I", 2**31))
    program.stdin.flush()
    assert program.wait(TIMEOUT_S) != 0
