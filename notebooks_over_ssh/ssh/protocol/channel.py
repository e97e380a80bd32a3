"""Channels (RFC 4254, section 5), such as sessions (section 6) and forwarded connections (section 7.2).

`handle_packet` runs in the thread that received the packet: packets in, event callbacks out. It must neither block nor
send; replies are sent through `call_soon`. A channel needs no socket, only an object with the methods of a transport.
"""

import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.common import (
    CONNECTION_FAILED_CODE,
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_WINDOW_ADJUST,
)

from notebooks_over_ssh.ssh.protocol.flow_control import Window
from notebooks_over_ssh.ssh.protocol.message import Message

# RFC 4253, section 6.1: every implementation supports payloads of this size.
MAX_DATA_BYTES = 32768
# How many requests of one channel may be unanswered; a server's keepalive needs one.
MAX_PENDING_REQUESTS = 256
DIRECT_TCPIP = b"direct-tcpip"
SESSION = b"session"
Address = tuple[str, int]


def direct_tcpip_payload(target: Address, origin: Address) -> bytes:
    """The channel-specific fields of a direct-tcpip open request (RFC 4254, section 7.2)."""
    fields = b""
    for name, port in (target, origin):
        host = name.encode()
        fields += struct.pack(">I", len(host)) + host + struct.pack(">I", port)
    return fields


def open_request(channel_type: bytes, number: int, window: int) -> bytes:
    """The request to open a channel with the sender's number and window, without type-specific fields (section 5.1)."""
    return (
        struct.pack(">BI", MSG_CHANNEL_OPEN, len(channel_type))
        + channel_type
        + struct.pack(">III", number, window, MAX_DATA_BYTES)
    )


class Channel:
    """One channel. Subclasses override the event callbacks below."""

    INITIAL_WINDOW = 1024 * 1024

    def __init__(self, transport: Any, channel_type: bytes, fields: bytes = b"") -> None:
        self.transport = transport
        self.channel_type = channel_type
        self._fields = fields
        self.local_id = -1
        self.window = Window(
            transport.path_estimate, max(self.INITIAL_WINDOW, transport.path_estimate.initial_window)
        )
        self.max_packet_size = 0
        """The most data bytes in one packet to the peer; 0 until the channel is open."""
        self._remote_id = 0
        # Two totals instead of one window: each is changed by one thread only, so they need no lock.
        self._send_limit = 0
        self._sent_bytes = 0
        self._open_sent_at = 0.0
        self._is_closed = False
        self._eof_sent = False
        self._close_sent = False
        self._eof_received = False
        # Replies are counted, not queued: a peer cannot fill our memory while we cannot send.
        self._pending_credit = 0
        self._pending_refusals = 0
        self._replies_scheduled = False
        self._replies_lock = threading.Lock()

    # ---- events, in the thread that received the packet ----

    def channel_opened(self) -> None:
        """The peer confirmed the channel."""

    def open_failed(self, error: paramiko.ChannelException) -> None:
        """The peer refused the channel."""

    def data_received(self, data: memoryview) -> None:
        """Data arrived; call `consumed` or `credit` once it is processed."""

    def resume_writing(self) -> None:
        """The send window was empty and is not any more."""

    def eof_received(self) -> None:
        """The peer sends no more data."""

    def channel_closed(self) -> None:
        """The peer closed the channel."""

    def connection_lost(self) -> None:
        """The transport has ended; called in any thread."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call it in a thread that may send and block."""
        self.transport.packetizer.call_soon(callback)

    # ---- methods for any thread that may block ----

    def open(self) -> None:
        """Send the open request; `channel_opened`, `open_failed` or `connection_lost` follows. Raises SSHException."""
        is_session = self.channel_type == SESSION
        if not (is_session and self.transport.sessions_ahead.take(self)):
            self.transport.add(self)
            self._open_sent_at = time.monotonic()
            self._send(open_request(self.channel_type, self.local_id, self.window.size) + self._fields)
        if is_session:
            self.transport.sessions_ahead.refill()
        if not self.transport.is_active():
            self.transport_lost()

    @property
    def initial_window(self) -> int:
        """How many bytes the peer may send at first."""
        return self.window.size

    @property
    def send_window(self) -> int:
        """How many bytes of data may be sent now."""
        return self._send_limit - self._sent_bytes

    def send_data(self, data: bytes) -> None:
        """Send at most `send_window` and `max_packet_size` bytes; blocks on the network and during a key exchange."""
        self._sent_bytes += len(data)
        self._send(struct.pack(">BII", MSG_CHANNEL_DATA, self._remote_id, len(data)) + data)

    def consumed(self, size: int) -> None:
        """Report that received bytes were processed, from a thread that must not send."""
        credit = self.window.consume(size)
        if credit:
            self._queue_replies(credit, 0)

    def credit(self, size: int) -> None:
        """As `consumed`, from a thread that may send and block."""
        self._adjust_window(self.window.consume(size))

    def send_eof(self) -> None:
        """Send SSH_MSG_CHANNEL_EOF once (RFC 4254, section 5.3)."""
        if not self._eof_sent and not self._close_sent:
            self._eof_sent = True
            self._send(struct.pack(">BI", MSG_CHANNEL_EOF, self._remote_id))

    def send_close(self) -> None:
        """Send SSH_MSG_CHANNEL_CLOSE once; data that arrives afterwards is discarded."""
        if not self._close_sent:
            self._close_sent = True
            self._send(struct.pack(">BI", MSG_CHANNEL_CLOSE, self._remote_id))

    def transport_lost(self) -> None:
        """Called by the transport when it has ended."""
        if not self._is_closed:
            self._unregister()
            self.connection_lost()

    # ---- packets ----

    def handle_packet(self, message_type: int, payload: memoryview) -> bool:
        """Handle a packet of this channel; returns whether its type is known. Raises SSHException."""
        is_open = self.max_packet_size > 0
        if is_open == (message_type in (MSG_CHANNEL_OPEN_SUCCESS, MSG_CHANNEL_OPEN_FAILURE)):
            # RFC 4254, section 5.1: the peer "MUST respond to this message", once, before any other message.
            raise paramiko.SSHException(
                "the server opened a channel twice"
                if is_open
                else "the server used a channel before opening it"
            )
        if message_type == MSG_CHANNEL_DATA:
            (size,) = struct.unpack_from(">I", payload, 5)
            data = payload[9 : 9 + size]
            self.window.on_received(len(data))
            if self._close_sent:
                self.consumed(len(data))
            else:
                self.data_received(data)
        elif message_type == MSG_CHANNEL_WINDOW_ADJUST:
            was_writable = self.send_window > 0
            (increment,) = struct.unpack_from(">I", payload, 5)
            self._send_limit += increment
            if not was_writable and self.send_window > 0:
                self.resume_writing()
        elif message_type == MSG_CHANNEL_EOF:
            if not self._eof_received:
                self._eof_received = True
                self.eof_received()
        elif message_type == MSG_CHANNEL_CLOSE:
            self._unregister()
            self.call_soon(self.send_close)
            self.channel_closed()
        elif message_type == MSG_CHANNEL_OPEN_SUCCESS:
            self._remote_id, self._send_limit, max_packet = struct.unpack_from(">III", payload, 5)
            self.max_packet_size = min(max_packet, self.transport.max_data_bytes)
            if self.max_packet_size <= 0:
                raise paramiko.SSHException("the server opened a channel with a maximum packet size of 0")
            self.transport.path_estimate.add_rtt_sample(time.monotonic() - self._open_sent_at)
            self.channel_opened()
        elif message_type == MSG_CHANNEL_OPEN_FAILURE:
            (code,) = struct.unpack_from(">I", payload, 5)
            self._unregister()
            if self.channel_type == SESSION:
                self.transport.sessions_ahead.release_command()
            self.open_failed(
                paramiko.ChannelException(code, CONNECTION_FAILED_CODE.get(code, "unknown reason"))
            )
        elif message_type == MSG_CHANNEL_REQUEST:
            self._refuse_request(Message(bytes(payload[5:])))
        else:
            return False
        return True

    def _refuse_request(self, message: Message) -> None:
        # RFC 4254, section 5.4: an unknown request gets SSH_MSG_CHANNEL_FAILURE if it wants a reply. sshd's keepalive
        # is one.
        message.get_binary()
        if message.get_boolean():
            self._queue_replies(0, 1)

    def _queue_replies(self, credit: int, refusals: int) -> None:
        """Schedule a window adjustment and failures; those that accumulate until then are sent together."""
        with self._replies_lock:
            self._pending_credit += credit
            self._pending_refusals += refusals
            if self._pending_refusals > MAX_PENDING_REQUESTS:
                raise paramiko.SSHException("the server sent too many channel requests")
            if self._replies_scheduled:
                return
            self._replies_scheduled = True
        self.call_soon(self._send_replies)

    def _send_replies(self) -> None:
        with self._replies_lock:
            credit, self._pending_credit = self._pending_credit, 0
            refusals, self._pending_refusals = self._pending_refusals, 0
            self._replies_scheduled = False
        self._adjust_window(credit)
        for _ in range(refusals):
            if not self._close_sent:
                self._send(struct.pack(">BI", MSG_CHANNEL_FAILURE, self._remote_id))

    def _adjust_window(self, credit: int) -> None:
        if credit and not self._close_sent:
            self._send(struct.pack(">BII", MSG_CHANNEL_WINDOW_ADJUST, self._remote_id, credit))

    def _send(self, payload: bytes) -> None:
        self.transport._send_user_message(paramiko.Message(payload))

    def _unregister(self) -> None:
        self._is_closed = True
        self.window.close()
        self.transport.remove(self)
