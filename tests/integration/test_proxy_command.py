"""The stderr of a command in place of a gateway: only its end is kept."""

import os
import stat
import tracemalloc
from pathlib import Path

import pytest

from notebooks_over_ssh.ssh.proxy_command import ProxyCommand

FLOOD = 8 * 1024 * 1024


def bytes_in_open_files() -> int:
    """The total size of this process's open regular files, unlinked ones included."""
    total = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            info = os.stat(descriptor)
        except FileNotFoundError:  # the descriptor of /proc/self/fd itself
            continue
        total += info.st_size if stat.S_ISREG(info.st_mode) else 0
    return total


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc/self/fd (Linux)")
def test_flood() -> None:
    """Of 8 MB on stderr only the end is kept, and the command is not blocked."""
    before = bytes_in_open_files()
    tracemalloc.start()
    command = ProxyCommand(
        f"sh -c 'head -c {FLOOD} /dev/zero | tr \"\\0\" x >&2; echo the end >&2; echo done; cat'"
    )
    try:
        command.socket.settimeout(60)
        assert command.socket.recv(100) == b"done\n"
        _, peak = tracemalloc.get_traced_memory()
        assert bytes_in_open_files() - before < FLOOD // 8
        assert peak < FLOOD // 8
        assert command.stderr_tail()[-1].endswith("the end") or command.stderr_tail()[-1] == "x" * 300
        assert sum(map(len, command.stderr_tail())) <= 1500
    finally:
        tracemalloc.stop()
        command.close()


def test_stderr_tail() -> None:
    """The last lines are available when the connection has ended, in order, each of them cut."""
    command = ProxyCommand("sh -c 'for n in 1 2 3 4 5 6; do echo line $n >&2; done'")
    try:
        command.socket.settimeout(60)
        assert command.socket.recv(100) == b""
        assert command.stderr_tail() == ("line 2", "line 3", "line 4", "line 5", "line 6")
    finally:
        command.close()


def test_inherited_stderr(tmp_path: Path) -> None:
    """Closing does not wait for a background program that inherited stderr."""
    started = tmp_path / "there"
    os.mkfifo(started)
    # Ends when the other end of the FIFO is closed.
    command = ProxyCommand(f"sh -c 'cat {started} >/dev/null </dev/null & echo done'")
    writing = os.open(started, os.O_WRONLY)
    try:
        command.socket.settimeout(60)
        assert command.socket.recv(100) == b"done\n"
        command.close()
    finally:
        os.close(writing)
