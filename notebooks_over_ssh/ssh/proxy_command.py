"""A command in the place of a gateway: what ssh_config(5) calls ProxyCommand."""

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import threading

_log = logging.getLogger(__name__)

END_TIMEOUT_S = 2
MAX_LINES = 5
MAX_LINE_LENGTH = 300
PIPE_SIZE = 64 * 1024  # bytes; pipe(7)


class ProxyCommand:
    """A running command, whose standard input and output are the connection to the first hop.

    Over a socket, and not Paramiko's two pipes, which it reads by polling and whose end it does not notice.
    """

    def __init__(self, command: str) -> None:
        self.socket, child_end = socket.socketpair()
        self._errors = _ErrorOutput()
        with child_end, contextlib.ExitStack() as ours:
            ours.callback(os.close, self._errors.writing)
            # As ssh runs it: by a shell, which the command replaces. It stays in our group, or it could not ask at the
            # terminal.
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=child_end.fileno(),
                stdout=child_end.fileno(),
                stderr=self._errors.writing,
            )
        _log.debug("connecting with a proxy command, process %d", self._process.pid)

    def stderr_tail(self) -> tuple[str, ...]:
        """The last lines that the command wrote to its standard error."""
        lines = self._errors.tail().decode("utf-8", "replace").splitlines()[-MAX_LINES:]
        return tuple(line[:MAX_LINE_LENGTH] for line in lines)

    def close(self) -> None:
        """End the command, which reads the end of its input, and wait for it."""
        self.socket.close()
        for signal_number in (None, signal.SIGTERM, signal.SIGKILL):
            if signal_number is not None:
                self._process.send_signal(signal_number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_TIMEOUT_S)
                break
        self._errors.close()


class _ErrorOutput:
    """The standard error of a command: read as it comes, and the end of it kept for when the command fails.

    On our own it would hold that open as long as a tunnel lives.
    """

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()  # the second is for the command alone
        os.set_blocking(self._reading, False)
        self._closing, self._closed = socket.socketpair()
        self._end = b""
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read_on, name="proxy command's errors", daemon=True)
        self._thread.start()

    def tail(self) -> bytes:
        """The last bytes that the command has written by now."""
        with self._lock:
            self._read()
            return self._end

    def close(self) -> None:
        """Read no more, though another program that the command started may still write."""
        self._closing.close()
        self._thread.join()
        self._closed.close()
        os.close(self._reading)

    def _read_on(self) -> None:
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        poll.register(self._closed, select.POLLIN)
        while self._closed.fileno() not in [descriptor for descriptor, _ in poll.poll()]:
            with self._lock:
                if not self._read():
                    return

    def _read(self) -> bool:
        """Take what a pipe has room for (pipe(7)), so that a flood cannot keep us here; returns whether more may come."""
        try:
            block = os.read(self._reading, PIPE_SIZE)
        except BlockingIOError:
            return True
        self._end = (self._end + block)[-MAX_LINES * MAX_LINE_LENGTH :]
        return bool(block)
