"""TCP connections over which a server prints line by line, in a network namespace each."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.kit.netns import netns_exec
from tests.kit.wait import wait_until

# Sends a number every quarter of a second; at the end of what the client sends, how many there were.
SERVER_SCRIPT = """
import select, socket, sys, threading
def serve(peer):
    number = 0
    while not select.select([peer], [], [], 0.25)[0]:
        peer.sendall(b"%d\\n" % number)
        number += 1
    peer.sendall(b"total %d\\n" % number)
    peer.close()
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
"""
# Copies what it receives to its output; at the end of its input it half-closes, and the server ends.
CLIENT_SCRIPT = """
import select, socket, sys
peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
inputs = [peer, sys.stdin]
while True:
    ready = select.select(inputs, [], [])[0]
    if sys.stdin in ready:
        peer.shutdown(socket.SHUT_WR)
        inputs.remove(sys.stdin)
    if peer in ready:
        block = peer.recv(65536)
        if not block:
            break
        sys.stdout.buffer.write(block)
        sys.stdout.flush()
"""
END_TIMEOUT_S = 30.0


@contextlib.contextmanager
def line_server(namespace: str) -> Iterator[int]:
    """The port of a server in the namespace that prints lines to each client."""
    command = [*netns_exec(namespace), sys.executable, "-c", SERVER_SCRIPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield int(process.stdout.readline())
        finally:
            process.terminate()


class LineStream:
    """A client of a line server, in a namespace and behind a local port there."""

    def __init__(self, namespace: str, port: int, output: Path) -> None:
        self._output = output
        with output.open("wb") as stdout, self._errors.open("wb") as stderr:
            self._process = subprocess.Popen(
                [*netns_exec(namespace), sys.executable, "-c", CLIENT_SCRIPT, str(port)],
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
            )

    @property
    def _errors(self) -> Path:
        return self._output.with_suffix(".errors")

    def lines(self) -> list[int]:
        """The numbers that have arrived."""
        return [int(line) for line in re.findall(r"^(\d+)\n", self._output.read_text(), re.MULTILINE)]

    def wait_for_more(self, lines: int) -> None:
        """Wait until so many more lines have arrived, or the connection has ended."""
        expected = len(self.lines()) + lines
        wait_until(
            lambda: len(self.lines()) >= expected or self._process.poll() is not None,
            f"{expected} lines arrive at {self._output.name}",
        )

    def finish(self) -> list[int]:
        """End the connection; returns the numbers that were lost. Raises AssertionError if it was reset before."""
        self._process.communicate(timeout=END_TIMEOUT_S)
        assert self._process.returncode == 0, self._errors.read_text()
        (total,) = re.findall(r"^total (\d+)\n", self._output.read_text(), re.MULTILINE)
        return sorted(set(range(int(total))) - set(self.lines()))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
