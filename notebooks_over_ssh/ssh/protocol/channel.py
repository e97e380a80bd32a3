"""Streams: what the far end of a transport opens for us (channels, RFC 4254, section 5), such as a connection (section 7.2).

A stream takes its packets in the thread that received them, so it never waits there and never sends: what has to be sent
goes through `call_soon`.
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
    cMSG_CHANNEL_REQUEST,
)

from notebooks_over_ssh.ssh.protocol.flow_control import Window
from notebooks_over_ssh.ssh.protocol.message import Message

# RFC 4253, section 6.1: what everybody takes.
MAX_DATA_BYTES = 32768
# How many requests on one channel may wait for their answer; servers that look whether we are alive have one.
MAX_PENDING_REQUESTS = 256
DIRECT_TCPIP = b"direct-tcpip"
Address = tuple[str, int]


def direct_tcpip_payload(target: Address, origin: Address) -> bytes:
    """What a stream of the kind DIRECT is opened with: where it leads, and for whom."""
    fields = b""
    for name, port in (target, origin):
        host = name.encode()
        fields += struct.pack(">I", len(host)) + host + struct.pack(">I", port)
    return fields


def exec_request(number: int, command: str, *, want_reply: bool) -> paramiko.Message:
    """What has the peer's session of that number run the command (RFC 4254, section 6.5)."""
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(number)
    message.add_string("exec")
    message.add_boolean(want_reply)
    message.add_string(command)
    return message


class Channel:
    """One stream. What its subclasses have to do with what happens is in the methods that are empty here."""

    INITIAL_WINDOW = 1024 * 1024

    def __init__(self, transport: Any, channel_type: bytes, fields: bytes = b"") -> None:
        self.transport = transport
        self._channel_type = channel_type
        self._fields = fields
        self.local_id = -1
        self.window = Window(
            transport.path_estimate, max(self.INITIAL_WINDOW, transport.path_estimate.initial_window)
        )
        self.max_packet_size = 0
        """The most bytes that one packet may bring the peer."""
        self._remote_id = 0
        # Two counts, each changed by one thread only, and what lies between them is what may be sent.
        self._send_limit = 0
        self._sent_bytes = 0
        self._open_sent_at = 0.0
        self._is_closed = False
        self._eof_sent = False
        self._close_sent = False
        self._eof_received = False
        # What the peer is owed: it is counted, not queued, so that its packets cost no memory while we cannot send.
        self._pending_credit = 0
        self._pending_refusals = 0
        self._replies_scheduled = False
        self._replies_lock = threading.Lock()

    # ---- what happens, in the thread that received it ----

    def channel_opened(self) -> None:
        """The far end has opened it."""

    def open_failed(self, error: paramiko.ChannelException) -> None:
        """The far end could not, or does not want to."""

    def data_received(self, data: memoryview) -> None:
        """Data arrived. Whoever takes it says so with `consumed` or `credit`."""

    def resume_writing(self) -> None:
        """There is room again where there was none."""

    def eof_received(self) -> None:
        """The peer has nothing more to send."""

    def channel_closed(self) -> None:
        """The peer closed the stream."""

    def connection_lost(self) -> None:
        """The transport has ended, and everything with it; in any thread."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Have a thread that may wait send something, soon."""
        self.transport.packetizer.call_soon(callback)

    # ---- what may be done with it ----

    def open(self) -> None:
        """Ask the far end for it; `channel_opened`, `open_failed` or `connection_lost` follows. Raises SSHException."""
        self.transport.add(self)
        self._open_sent_at = time.monotonic()
        payload = struct.pack(">BI", MSG_CHANNEL_OPEN, len(self._channel_type)) + self._channel_type
        payload += struct.pack(">III", self.local_id, self.window.size, MAX_DATA_BYTES)
        self._send(payload + self._fields)
        if not self.transport.is_active():
            self.transport_lost()

    @property
    def send_window(self) -> int:
        """How many bytes may be sent now."""
        return self._send_limit - self._sent_bytes

    def send_data(self, data: bytes) -> None:
        """Send no more than `send_window` and `max_packet_size` allow; waits while keys are exchanged, or for the network."""
        self._sent_bytes += len(data)
        self._send(struct.pack(">BII", MSG_CHANNEL_DATA, self._remote_id, len(data)) + data)

    def consumed(self, size: int) -> None:
        """So many bytes of what was received went to where they belong; for a thread that must not send."""
        credit = self.window.consume(size)
        if credit:
            self._queue_replies(credit, 0)

    def credit(self, size: int) -> None:
        """As `consumed`, for a thread that may send, and wait for that."""
        self._adjust_window(self.window.consume(size))

    def send_eof(self) -> None:
        """Say that nothing more will be sent."""
        if not self._eof_sent and not self._close_sent:
            self._eof_sent = True
            self._send(struct.pack(">BI", MSG_CHANNEL_EOF, self._remote_id))

    def send_close(self) -> None:
        """Close it; nothing that arrives from now on is wanted."""
        if not self._close_sent:
            self._close_sent = True
            self._send(struct.pack(">BI", MSG_CHANNEL_CLOSE, self._remote_id))

    def transport_lost(self) -> None:
        """The transport has ended."""
        if not self._is_closed:
            self._unregister()
            self.connection_lost()

    # ---- packets ----

    def handle_packet(self, message_type: int, payload: memoryview) -> bool:
        """Take a packet that is for this stream; whether it is of a kind that a stream has. Raises SSHException."""
        is_open = self.max_packet_size > 0
        if is_open == (message_type in (MSG_CHANNEL_OPEN_SUCCESS, MSG_CHANNEL_OPEN_FAILURE)):
            # RFC 4254, section 5.1: the answer to the request comes first, and once.
            raise paramiko.SSHException(
                "it opened a channel twice" if is_open else "it used a channel before it opened it"
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
                raise paramiko.SSHException("it takes no packet of any size")
            self.transport.path_estimate.add_rtt_sample(time.monotonic() - self._open_sent_at)
            self.channel_opened()
        elif message_type == MSG_CHANNEL_OPEN_FAILURE:
            (code,) = struct.unpack_from(">I", payload, 5)
            self._unregister()
            self.open_failed(
                paramiko.ChannelException(code, CONNECTION_FAILED_CODE.get(code, "unknown reason"))
            )
        elif message_type == MSG_CHANNEL_REQUEST:
            self._refuse_request(Message(bytes(payload[5:])))
        else:
            return False
        return True

    def _refuse_request(self, message: Message) -> None:
        # A server that looks whether we are alive asks for something that no stream has.
        message.get_binary()
        if message.get_boolean():
            self._queue_replies(0, 1)

    def _queue_replies(self, credit: int, refusals: int) -> None:
        """Have the peer sent what it waits for, soon, and together with whatever else it is owed by then."""
        with self._replies_lock:
            self._pending_credit += credit
            self._pending_refusals += refusals
            if self._pending_refusals > MAX_PENDING_REQUESTS:
                raise paramiko.SSHException("it asks for more than it lets us answer")
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
