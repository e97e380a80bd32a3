"""The program that watches the server's listening socket reports when it closes, and ends with its input or output."""

import contextlib
import json
import os
import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.local_scripts import MARKER, start_locally
from tests.kit.ports import free_port
from tests.kit.sshd import LOOPBACK

pytestmark = pytest.mark.usefixtures("host_environment")

TIMEOUT_S = 10.0
Program = subprocess.Popen[bytes]


def process_start(pid: int) -> str:
    """The start of a process, as session records have it."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{ticks}"


@contextlib.contextmanager
def watching(home: Path, pid: int, start: str, port: int) -> Iterator[Program]:
    """The running program, as on a host."""
    parameters = {"pid": pid, "process_start": start, "port": port}
    # Without a buffer, of which select(2) would not know.
    with start_locally(home, "watch_server", parameters, bufsize=0) as program:
        assert program.stdout
        yield program
        program.stdout.close()
        program.wait(TIMEOUT_S)  # without a reader it ends by itself


def next_state(program: Program) -> str:
    """The state in its next reply; "" at the end. Raises AssertionError if neither comes in time."""
    assert program.stdout
    while select.select([program.stdout], [], [], TIMEOUT_S)[0]:
        line = program.stdout.readline()
        if not line:
            return ""
        _, separator, text = line.decode().partition(f"{MARKER} ")
        if separator:
            reply: dict[str, Any] = json.loads(text)
            return str(reply["state"])
    raise AssertionError("no reply")


def test_port_closes(tmp_path: Path) -> None:
    """When the server closes its port, the program reports that, although the server's process keeps running."""
    with socket.create_server((LOOPBACK, 0)) as server:
        pid, port = os.getpid(), server.getsockname()[1]
        with watching(tmp_path, pid, process_start(pid), port) as program:
            assert next_state(program) == "watching"
            server.close()
            assert next_state(program) == "ended"
            assert next_state(program) == ""


def test_port_is_taken_over(tmp_path: Path) -> None:
    """Another socket on the same port, even of the same process, is not the server's."""
    with socket.create_server((LOOPBACK, 0)) as server:
        pid, port = os.getpid(), server.getsockname()[1]
        with watching(tmp_path, pid, process_start(pid), port) as program:
            assert next_state(program) == "watching"
            server.close()
            with socket.create_server((LOOPBACK, port)):
                assert next_state(program) == "ended"


def test_output_is_closed(tmp_path: Path) -> None:
    """When its output is closed, the program ends, although the server keeps running."""
    with socket.create_server((LOOPBACK, 0)) as server:
        pid = os.getpid()
        with watching(tmp_path, pid, process_start(pid), server.getsockname()[1]) as program:
            assert next_state(program) == "watching"
        assert program.returncode == 0


def test_input_is_closed(tmp_path: Path) -> None:
    """When its input is closed, it ends too: a program between it and the client may keep its output open."""
    with socket.create_server((LOOPBACK, 0)) as server:
        pid = os.getpid()
        with watching(tmp_path, pid, process_start(pid), server.getsockname()[1]) as program:
            assert next_state(program) == "watching"
            assert program.stdin
            program.stdin.close()
            assert next_state(program) == ""


def test_another_process(tmp_path: Path) -> None:
    """A process with the server's PID that started at another time is not the server, which has therefore ended."""
    with socket.create_server((LOOPBACK, 0)) as server:
        pid = os.getpid()
        with watching(tmp_path, pid, "boot/1", server.getsockname()[1]) as program:
            assert next_state(program) == "ended"


@pytest.mark.parametrize("listener", ["nobody", "another process"])
def test_no_socket_of_the_server(tmp_path: Path, listener: str) -> None:
    """Without a listening socket of the server's process, the program reports that it cannot watch."""
    with socket.create_server((LOOPBACK, 0)) as server:
        pid, port = os.getpid(), free_port()
        if listener == "another process":
            pid, port = os.getppid(), server.getsockname()[1]
        with watching(tmp_path, pid, process_start(pid), port) as program:
            assert next_state(program) == "blind"
