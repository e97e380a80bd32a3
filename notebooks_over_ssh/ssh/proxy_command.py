"""Runs a ProxyCommand (ssh_config(5)), or a gateway that is a command."""

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

    They are a socket pair. Paramiko's ProxyCommand uses pipes, which it polls, and does not detect their end.
    """

    def __init__(self, command: str) -> None:
        self.socket, child_end = socket.socketpair()
        self._errors = _ErrorOutput()
        with child_end, contextlib.ExitStack() as stack:
            stack.callback(os.close, self._errors.write_fd)
            # With `exec` in a shell, as ssh runs it. It stays in this process group, so that it can prompt at the
            # terminal.
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=child_end.fileno(),
                stdout=child_end.fileno(),
                stderr=self._errors.write_fd,
            )
        _log.debug("connecting with a proxy command, process %d", self._process.pid)

    def stderr_tail(self) -> tuple[str, ...]:
        """The last lines that the command wrote to its standard error."""
        lines = self._errors.tail().decode("utf-8", "replace").splitlines()[-MAX_LINES:]
        return tuple(line[:MAX_LINE_LENGTH] for line in lines)

    def close(self) -> None:
        """End the command: by end of file at its input, by SIGTERM if that does not help, then by SIGKILL."""
        self.socket.close()
        for signal_number in (None, signal.SIGTERM, signal.SIGKILL):
            if signal_number is not None:
                self._process.send_signal(signal_number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_TIMEOUT_S)
                break
        self._errors.close()


class _ErrorOutput:
    """The standard error of a command: a thread reads it, and the last lines are kept for an error message.

    A command that inherited this process's standard error would keep it open as long as a tunnel runs.
    """

    def __init__(self) -> None:
        self._read_fd, self.write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._wakeup_sender, self._wakeup_receiver = socket.socketpair()
        self._tail = b""
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="proxy command stderr", daemon=True)
        self._thread.start()

    def tail(self) -> bytes:
        """The last bytes that the command has written so far."""
        with self._lock:
            self._read()
            return self._tail

    def close(self) -> None:
        """Stop reading, even if another program that the command started has the pipe open."""
        self._wakeup_sender.close()
        self._thread.join()
        self._wakeup_receiver.close()
        os.close(self._read_fd)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        poll.register(self._wakeup_receiver, select.POLLIN)
        while self._wakeup_receiver.fileno() not in [descriptor for descriptor, _ in poll.poll()]:
            with self._lock:
                if not self._read():
                    return

    def _read(self) -> bool:
        """Read at most the capacity of a pipe (pipe(7)) once; returns whether more may follow."""
        try:
            block = os.read(self._read_fd, PIPE_SIZE)
        except BlockingIOError:
            return True
        self._tail = (self._tail + block)[-MAX_LINES * MAX_LINE_LENGTH :]
        return bool(block)
