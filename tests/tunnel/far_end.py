"""A far end that says, on its streams, whatever a test wants it to say: an SSH server that keeps no rule of RFC 4254."""

import contextlib
import queue
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import paramiko
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
)

from tests.openssh.network import LOOPBACK
from tests.tunnel.hops import PATIENCE_S

MB = 1024 * 1024
ON_STREAMS = (
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_FAILURE,
)


class _Everybody(paramiko.ServerInterface):
    def check_auth_none(self, username: str) -> int:
        return paramiko.common.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "none"


@dataclass
class Opened:
    """A stream that our side asked for."""

    kind: str
    number: int
    window: int
    largest: int


@dataclass
class FarEnd:
    """The far end of one transport."""

    transport: Any = None
    opened: "queue.Queue[Opened]" = field(default_factory=queue.Queue)
    heard: "queue.Queue[tuple[int, bytes]]" = field(default_factory=queue.Queue)
    """What our side said on streams: the kind of the packet, and what follows the stream's number."""

    def say(self, kind: int, *fields: int | bytes) -> None:
        """Send a packet of numbers (uint32) and bytes as they are."""
        body = b"".join(struct.pack(">I", field) if isinstance(field, int) else field for field in fields)
        self.transport._send_user_message(paramiko.Message(bytes([kind]) + body))

    def data(self, number: int, data: bytes) -> None:
        """Send data on a stream."""
        self.say(MSG_CHANNEL_DATA, number, len(data), data)

    def request(self, number: int, *, wants_answer: bool = True) -> None:
        """Ask on a stream for what none has; it is answered only after all that came before."""
        name = b"keepalive@openssh.com"
        self.say(MSG_CHANNEL_REQUEST, number, len(name), name, bytes([wants_answer]))

    def accept(self, *, window: int = MB, largest: int = 32768) -> Opened:
        """Wait until our side asks for a stream, and open it."""
        opened = self.opened.get(timeout=PATIENCE_S)
        self.say(MSG_CHANNEL_OPEN_SUCCESS, opened.number, 0, window, largest)
        return opened

    def hears(self, kind: int) -> bytes:
        """Wait for a packet of the kind; returns what follows the stream's number."""
        while True:
            found, body = self.heard.get(timeout=PATIENCE_S)
            if found == kind:
                return body


def _let_hear(transport: Any, end: FarEnd) -> None:
    """Have the packets of streams put down, in the place of what Paramiko would do with them."""

    def opened(message: paramiko.Message) -> None:
        end.opened.put(Opened(message.get_text(), message.get_int(), message.get_int(), message.get_int()))

    def heard(kind: int, message: paramiko.Message) -> None:
        message.get_int()
        end.heard.put((kind, message.get_remainder()))

    transport._handler_table[MSG_CHANNEL_OPEN] = opened
    for kind in ON_STREAMS:
        transport._handler_table[kind] = partial(heard, kind)


@contextlib.contextmanager
def far_end() -> Iterator[tuple[int, FarEnd]]:
    """The port of a server that lets everybody in, and the far end of the first who comes."""
    end = FarEnd()
    with socket.create_server((LOOPBACK, 0)) as listening:

        def serve() -> None:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            transport: Any = paramiko.Transport(peer)
            transport.add_server_key(paramiko.ECDSAKey.generate())
            _let_hear(transport, end)
            end.transport = transport
            with contextlib.suppress(EOFError, paramiko.SSHException):
                transport.start_server(server=_Everybody())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1], end
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE_S)
            if end.transport is not None:
                end.transport.close()
