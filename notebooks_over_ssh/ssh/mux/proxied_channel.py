"""A channel of a transport that belongs to another process, which has the window and the other end's number."""

import contextlib
import struct
from typing import Any, Protocol

import paramiko
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_SUCCESS,
)

from notebooks_over_ssh.ssh.bootstrap import BOOTSTRAP, BOOTSTRAP_SESSION
from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.protocol.channel import DIRECT_TCPIP, SESSION
from notebooks_over_ssh.ssh.protocol.exec_request import exec_request


class PacketReceiver(Protocol):
    """The client that the channel belongs to."""

    def send(self, payload: bytes) -> None: ...

    def remove(self, channel: "ProxiedChannel") -> None: ...

    def close(self) -> None: ...


class ProxiedChannel:
    """Passes packets on with the number replaced; has the methods of a Channel that a transport calls."""

    def __init__(
        self, transport: Any, client: PacketReceiver, kind: bytes, client_id: int, fields: bytes
    ) -> None:
        """`fields` are those of the open request after the sender's number."""
        self.client_id = client_id
        self.local_id = -1
        self._transport = transport
        self._client = client
        self._kind = kind
        self._fields = fields
        self._remote_id: int | None = None
        self._is_running = False
        self._close_sent = False
        self._close_received = False
        self._is_abandoned = False

    def is_at(self, remote_id: int) -> bool:
        """Whether the server has given it this number, and the client has not closed it."""
        return self._remote_id == remote_id and not self._close_sent

    @property
    def initial_window(self) -> int:
        """How many bytes the server may send at first."""
        (window,) = struct.unpack_from(">I", self._fields)
        return int(window)

    def open(self) -> None:
        """Take the session that was opened ahead, or send the open request. Raises one of FAILURES."""
        sessions_ahead = self._transport.sessions_ahead
        if self._kind == DIRECT_TCPIP:
            self._open(DIRECT_TCPIP)
            return
        self._is_running = self._kind == BOOTSTRAP_SESSION and sessions_ahead.take_command(self)
        if not self._is_running and not sessions_ahead.take(self):
            self._open(SESSION)
        sessions_ahead.refill()
        if self._kind == BOOTSTRAP_SESSION:
            sessions_ahead.refill_command(BOOTSTRAP)

    def _open(self, kind: bytes) -> None:
        self._transport.add(self)
        header = struct.pack(">BI", MSG_CHANNEL_OPEN, len(kind)) + kind
        self._send(header + struct.pack(">I", self.local_id) + self._fields)

    def forward(self, message_type: int, payload: bytes) -> None:
        """Send a packet of the client, which has the server's number already. Raises one of FAILURES."""
        if message_type == MSG_CHANNEL_REQUEST and self._is_running:
            self._confirm_command(payload)
            return
        self._send(payload)
        if message_type == MSG_CHANNEL_CLOSE:
            self._close_sent = True
            self._remove_when_closed()

    def _confirm_command(self, request: bytes) -> None:
        """Answer the request for the command that is running already."""
        self._is_running = False
        assert self._remote_id is not None
        if request == exec_request(self._remote_id, BOOTSTRAP, want_reply=True).asbytes():
            self._client.send(struct.pack(">BI", MSG_CHANNEL_SUCCESS, self.client_id))
        else:
            self._client.close()

    def abandon(self) -> None:
        """The client has left: close the channel, now or when the server has opened it."""
        self._is_abandoned = True
        if self._remote_id is not None and not self._close_sent:
            with contextlib.suppress(*FAILURES):
                self.forward(MSG_CHANNEL_CLOSE, struct.pack(">BI", MSG_CHANNEL_CLOSE, self._remote_id))

    # ---- called by the transport, in the thread that received the packet ----

    def handle_packet(self, message_type: int, payload: memoryview) -> bool:
        """Pass the packet on to the client."""
        if message_type == MSG_CHANNEL_OPEN_SUCCESS and self._remote_id is None:
            (self._remote_id,) = struct.unpack_from(">I", payload, 5)
            if self._is_abandoned:
                self._transport.packetizer.call_soon(self.abandon)
        if not self._is_abandoned:
            self._client.send(struct.pack(">BI", message_type, self.client_id) + bytes(payload[5:]))
        if message_type == MSG_CHANNEL_OPEN_FAILURE:
            self._remove()
            if self._kind != DIRECT_TCPIP:
                self._transport.sessions_ahead.release_command()
        elif message_type == MSG_CHANNEL_CLOSE:
            self._close_received = True
            self._remove_when_closed()
        return True

    def transport_lost(self) -> None:
        """Disconnect the client: the transport has ended."""
        self._client.close()

    def _remove_when_closed(self) -> None:
        # RFC 4254, section 5.3: a channel is closed when both sides have sent the message.
        if self._close_sent and self._close_received:
            self._remove()

    def _remove(self) -> None:
        self._transport.remove(self)
        self._client.remove(self)

    def _send(self, payload: bytes) -> None:
        self._transport._send_user_message(paramiko.Message(payload))
