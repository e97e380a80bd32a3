"""An SSH server whose channel packets the test sends itself, against all rules of RFC 4254 if it likes."""

import contextlib
import queue
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import paramiko
from paramiko.common import (
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_WINDOW_ADJUST,
)

from tests.kit.sockets import LOOPBACK, TIMEOUT_S, accept_loop

MB = 1024 * 1024
# From CHANNEL_WINDOW_ADJUST to CHANNEL_FAILURE (RFC 4250, section 4.1.2).
CHANNEL_MESSAGES = range(MSG_CHANNEL_WINDOW_ADJUST, MSG_CHANNEL_FAILURE + 1)


class _AcceptAll(paramiko.ServerInterface):
    def check_auth_none(self, username: str) -> int:
        return paramiko.common.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "none"


@dataclass
class OpenedChannel:
    """A channel that the client opened."""

    kind: str
    local_id: int
    window: int
    max_packet_size: int


@dataclass
class ScriptedPeer:
    """The server's side of one transport."""

    transport: Any = None
    channel_opens: "queue.Queue[OpenedChannel]" = field(default_factory=queue.Queue)
    received: "queue.Queue[tuple[int, bytes]]" = field(default_factory=queue.Queue)
    """The client's channel packets: their message type, and what follows the channel number."""

    def send(self, kind: int, *fields: int | bytes) -> None:
        """Send a packet of numbers (uint32) and raw bytes."""
        body = b"".join(struct.pack(">I", field) if isinstance(field, int) else field for field in fields)
        self.transport._send_user_message(paramiko.Message(bytes([kind]) + body))

    def data(self, number: int, data: bytes) -> None:
        """Send data on a channel."""
        self.send(MSG_CHANNEL_DATA, number, len(data), data)

    def request(self, number: int, *, want_reply: bool = True) -> None:
        """Send an unknown channel request; its reply comes only after all earlier packets."""
        name = b"keepalive@openssh.com"
        self.send(MSG_CHANNEL_REQUEST, number, len(name), name, bytes([want_reply]))

    def accept(self, *, window: int = MB, max_packet_size: int = 32768) -> OpenedChannel:
        """Wait for a channel open, and confirm it."""
        channel = self.channel_opens.get(timeout=TIMEOUT_S)
        self.send(MSG_CHANNEL_OPEN_SUCCESS, channel.local_id, 0, window, max_packet_size)
        return channel

    def expect(self, kind: int) -> bytes:
        """Wait for a packet of this type; returns what follows the channel number."""
        while True:
            message_type, body = self.received.get(timeout=TIMEOUT_S)
            if message_type == kind:
                return body


def _record_packets(transport: Any, scripted: ScriptedPeer) -> None:
    """Record channel packets in place of Paramiko's handling."""

    def record_open(message: paramiko.Message) -> None:
        scripted.channel_opens.put(
            OpenedChannel(message.get_text(), message.get_int(), message.get_int(), message.get_int())
        )

    def record_packet(kind: int, message: paramiko.Message) -> None:
        message.get_int()
        scripted.received.put((kind, message.get_remainder()))

    transport._handler_table[MSG_CHANNEL_OPEN] = record_open
    for kind in CHANNEL_MESSAGES:
        transport._handler_table[kind] = partial(record_packet, kind)


@contextlib.contextmanager
def scripted_peer() -> Iterator[tuple[int, ScriptedPeer]]:
    """The port of a server that accepts every login, and the peer for its first client."""
    scripted = ScriptedPeer()

    def serve(client: socket.socket) -> None:
        transport: Any = paramiko.Transport(client)
        transport.add_server_key(paramiko.ECDSAKey.generate())
        _record_packets(transport, scripted)
        scripted.transport = transport
        with contextlib.suppress(EOFError, paramiko.SSHException):
            transport.start_server(server=_AcceptAll())

    try:
        with accept_loop(socket.create_server((LOOPBACK, 0)), serve) as port:
            yield port, scripted
    finally:
        if scripted.transport is not None:
            scripted.transport.close()
