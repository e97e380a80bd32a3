"""One connection to a master, and the requests that it serves (PROTOCOL.mux, sections 1 to 4)."""

import contextlib
import os
import socket
import stat
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from notebooks_over_ssh.ssh.mux import messages
from notebooks_over_ssh.ssh.mux.messages import Message, MessageReader, MuxError, MuxRefusal, MuxTimeout
from notebooks_over_ssh.util.peer_credentials import peer_pid, peer_uid
from notebooks_over_ssh.util.socket_path import short_path

READ_SIZE = 4096
# A master that lives answers at once; one that was stopped (SIGSTOP) or hangs does not.
ALIVE_TIMEOUT_S = 3.0


class MuxClient:
    """A connection to a master that has answered. Each serves one session or forward, which ends with it."""

    def __init__(self, path: Path) -> None:
        """Connect, and check that the master lives. Raises MuxError; MuxTimeout if it hangs."""
        self._reader = MessageReader()
        self._messages: list[Message] = []
        self._request_ids = count(1)
        self.extensions: Mapping[str, str] = {}
        """What the greeting says, by name; a master of OpenSSH says nothing."""
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            check_socket(path)
            self.socket.settimeout(ALIVE_TIMEOUT_S)
            with short_path(path) as name:
                self.socket.connect(name)
            if peer_uid(self.socket) != os.getuid():
                raise MuxError("it belongs to another account")
            self._say_hello()
        except OSError as error:
            raised = self._error(error)
            self.socket.close()
            raise raised from error
        except BaseException:
            self.socket.close()
            raise

    def open_session(self, command: str, descriptors: tuple[int, int, int], timeout_s: float) -> None:
        """Run a command whose input, output and error output are the descriptors. Raises MuxError."""
        self._request(messages.new_session(next(self._request_ids), command), descriptors, timeout_s)

    def open_forward(self, host: str, port: int, descriptors: tuple[int, int], timeout_s: float) -> None:
        """Connect a port that the server reaches to the descriptors of input and output. Raises MuxError."""
        self._request(messages.stdio_forward(next(self._request_ids), host, port), descriptors, timeout_s)

    def start_proxy(self) -> socket.socket:
        """Make the connection one of the protocol that a MuxTransport speaks. Raises MuxError."""
        self._exchange(messages.proxy(next(self._request_ids)), messages.PROXY_STARTED)
        self.socket.settimeout(None)
        return self.socket

    def terminate(self) -> None:
        """Ask the master to end. Raises MuxError; MuxRefusal if it stays, MuxTimeout if it hangs."""
        self._exchange(messages.terminate(next(self._request_ids)), messages.OK)

    def close(self) -> None:
        """End the session or forward; unblocks a request in another thread."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _say_hello(self) -> None:
        self.socket.sendall(messages.hello() + messages.alive_check(0))
        deadline = time.monotonic() + ALIVE_TIMEOUT_S
        greeting = self._receive(deadline)
        if (greeting.type, greeting.id) != (messages.HELLO, messages.VERSION):
            raise MuxError("it speaks another protocol")
        self.extensions = greeting.extensions
        if self._receive(deadline).type != messages.ALIVE:
            raise MuxError("it does not say that it is alive")

    def _exchange(self, request: bytes, answer: int) -> None:
        try:
            self.socket.sendall(request)
            reply = self._receive(time.monotonic() + ALIVE_TIMEOUT_S)
        except OSError as error:
            raise self._error(error) from error
        if reply.type in messages.REFUSALS:
            raise MuxRefusal(f"it refuses: {reply.reason}")
        if reply.type != answer:
            raise MuxError("it gave an unexpected answer")

    def _error(self, error: OSError) -> MuxError:
        # Of the latter kind when as many clients wait as the socket's backlog allows.
        if not isinstance(error, TimeoutError | BlockingIOError):
            return MuxError(error.strerror or str(error))
        try:
            return MuxTimeout(peer_pid(self.socket))
        except OSError:
            return MuxTimeout(0)

    def _request(self, request: bytes, descriptors: tuple[int, ...], timeout_s: float) -> None:
        try:
            self.socket.sendall(request)
            for descriptor in descriptors:
                # mux.c receives each one with a byte of its own.
                socket.send_fds(self.socket, [b"\0"], [descriptor])
            reply = self._receive(time.monotonic() + timeout_s)
        except OSError as error:
            raise MuxError(error.strerror or f"it did not answer within {timeout_s:g} s") from error
        if reply.type in messages.REFUSALS:
            raise MuxRefusal(f"it refuses: {reply.reason}")
        if reply.type != messages.SESSION_OPENED:
            raise MuxError("it gave an unexpected answer")

    def _receive(self, deadline: float) -> Message:
        """The next message. Raises TimeoutError, MuxError."""
        while not self._messages:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self.socket.settimeout(left_s)
            data = self.socket.recv(READ_SIZE)
            if not data:
                raise MuxError("it has closed the connection")
            self._messages = self._reader.receive_data(data)
        return self._messages.pop(0)


def check_socket(path: Path) -> None:
    """Raise MuxError unless it is a socket of this account that no other can replace; FileNotFoundError without one."""
    status = os.lstat(path)
    folder = path.parent.stat()
    if not stat.S_ISSOCK(status.st_mode):
        raise MuxError("it is not a socket")
    if status.st_uid != os.getuid():
        raise MuxError("it belongs to another account")
    is_sticky = bool(folder.st_mode & stat.S_ISVTX)
    if folder.st_uid not in (0, os.getuid()) or (folder.st_mode & 0o022 and not is_sticky):
        raise MuxError("another account can write to its folder")
