"""A command in the place of a gateway: what ssh_config(5) calls ProxyCommand."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import tempfile

_log = logging.getLogger(__name__)

END_TIMEOUT_S = 2
LAST_LINES = 5
LONGEST_LINE = 300


class ProxyCommand:
    """A running command, whose standard input and output are the connection to the first hop.

    Over a socket, and not Paramiko's two pipes, which it reads by polling and whose end it does not notice.
    """

    def __init__(self, command: str) -> None:
        self.socket, theirs = socket.socketpair()
        # What it says is shown when it fails; on our own stderr it would hold that open as long as a tunnel lives.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 # it lives as long as the command
        with theirs:
            # As ssh runs it: by a shell, which the command replaces. It stays in our group, or it could not ask at the
            # terminal.
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._said,
            )
        _log.debug("connecting with a proxy command, process %d", self._process.pid)

    def said(self) -> tuple[str, ...]:
        """The last lines that the command wrote to its standard error."""
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - LAST_LINES * LONGEST_LINE))
        lines = self._said.read().decode("utf-8", "replace").splitlines()[-LAST_LINES:]
        return tuple(line[:LONGEST_LINE] for line in lines)

    def close(self) -> None:
        """End the command, which reads the end of its input, and wait for it."""
        self.socket.close()
        for signal_number in (None, signal.SIGTERM, signal.SIGKILL):
            if signal_number is not None:
                self._process.send_signal(signal_number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_TIMEOUT_S)
                break
        self._said.close()
