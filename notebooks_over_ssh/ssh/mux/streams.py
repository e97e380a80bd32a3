"""The streams of a session or forward of a master: the master reads and writes the other ends of socket pairs."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from notebooks_over_ssh.ssh.mux.client import MuxClient


class MasterStreams:
    """A session, or a connection to a port that the server reaches.

    Each stream has a socket pair of its own: a master shows the end of one by closing it.
    """

    def __init__(self, path: Path, number: int) -> None:
        """`number` is 3 for a session, which has an error output, 2 for a forward. Raises MuxError."""
        self._client = MuxClient(path)
        pairs = [socket.socketpair() for _ in range(number)]
        self.sockets = [own_end for own_end, _ in pairs]
        self._master_ends = [master_end for _, master_end in pairs]
        self.input, self.output = self.sockets[:2]
        """`input` is written here, `output` is read."""

    @property
    def control(self) -> socket.socket:
        """Reports the end: the master closes it."""
        return self._client.socket

    def close(self) -> None:
        """End the session or the connection."""
        self._client.close()
        for sock in (*self.sockets, *self._master_ends):
            sock.close()

    @contextlib.contextmanager
    def _passing(self) -> Iterator[list[int]]:
        """The descriptors for the master, which are closed here once it has them; on an error, everything is."""
        try:
            yield [sock.fileno() for sock in self._master_ends]
        except BaseException:
            self.close()
            raise
        for sock in self._master_ends:
            sock.close()


class MasterSession(MasterStreams):
    """A session that runs a command."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, 3)
        self.errors = self.sockets[2]

    def open(self, command: str, timeout_s: float) -> None:
        """Start the command. Raises MuxError."""
        with self._passing() as (standard_input, output, errors):
            self._client.open_session(command, (standard_input, output, errors), timeout_s)


class MasterForward(MasterStreams):
    """A connection to a port; it can be the socket of a transport."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, 2)

    def open(self, host: str, port: int, timeout_s: float) -> None:
        """Connect to the port. Raises MuxError."""
        with self._passing() as (standard_input, output):
            self._client.open_forward(host, port, (standard_input, output), timeout_s)

    # ---- socket interface ----

    def recv(self, size: int) -> bytes:
        """As socket.recv."""
        return self.output.recv(size)

    def send(self, data: bytes) -> int:
        """As socket.send."""
        return self.input.send(data)

    def settimeout(self, timeout_s: float | None) -> None:
        """As socket.settimeout."""
        self.input.settimeout(timeout_s)
        self.output.settimeout(timeout_s)

    def shutdown(self, how: int) -> None:
        """As socket.shutdown."""
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(how)

    @property
    def _closed(self) -> Any:
        # Paramiko reads this one of a socket.
        return self.output.fileno() < 0
