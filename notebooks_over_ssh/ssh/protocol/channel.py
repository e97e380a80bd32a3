"""Streams: what the far end of a transport opens for us (channels, RFC 4254, section 5), such as a connection (section 7.2).

A stream takes its packets in the thread that received them, so it never waits there and never sends: what has to be sent
goes through `later`.
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
LARGEST_DATA = 32768
# How many requests on one channel may wait for their answer; servers that look whether we are alive have one.
REQUESTS_LIMIT = 256
DIRECT = b"direct-tcpip"
Address = tuple[str, int]


def towards(target: Address, origin: Address) -> bytes:
    """What a stream of the kind DIRECT is opened with: where it leads, and for whom."""
    fields = b""
    for name, port in (target, origin):
        host = name.encode()
        fields += struct.pack(">I", len(host)) + host + struct.pack(">I", port)
    return fields


def program_request(number: int, command: str, *, wants_answer: bool) -> paramiko.Message:
    """What has the peer's session of that number run the command (RFC 4254, section 6.5)."""
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(number)
    message.add_string("exec")
    message.add_boolean(wants_answer)
    message.add_string(command)
    return message


class Stream:
    """One stream. What its subclasses have to do with what happens is in the methods that are empty here."""

    FIRST_WINDOW = 1024 * 1024

    def __init__(self, transport: Any, kind: bytes, fields: bytes = b"") -> None:
        self.transport = transport
        self._kind = kind
        self._fields = fields
        self.number = -1
        self.window = Window(transport.path, max(self.FIRST_WINDOW, transport.path.first))
        self.largest = 0
        """The most bytes that one packet may bring the peer."""
        self._remote_number = 0
        # Two counts, each changed by one thread only, and what lies between them is what may be sent.
        self._granted = 0
        self._sent = 0
        self._asked_at = 0.0
        self._over = False
        self._end_sent = False
        self._close_sent = False
        self._eof_received = False
        # What the peer is owed: it is counted, not queued, so that its packets cost no memory while we cannot send.
        self._credit = 0
        self._refusals = 0
        self._is_settling = False
        self._owing = threading.Lock()

    # ---- what happens, in the thread that received it ----

    def opened(self) -> None:
        """The far end has opened it."""

    def refused(self, error: paramiko.ChannelException) -> None:
        """The far end could not, or does not want to."""

    def received(self, data: memoryview) -> None:
        """Data arrived. Whoever takes it says so with `taken` or `credit`."""

    def may_send_more(self) -> None:
        """There is room again where there was none."""

    def ended(self) -> None:
        """The peer has nothing more to send."""

    def closed(self) -> None:
        """The peer closed the stream."""

    def lost(self) -> None:
        """The transport has ended, and everything with it; in any thread."""

    def later(self, errand: Callable[[], None]) -> None:
        """Have a thread that may wait send something, soon."""
        self.transport.packetizer.later(errand)

    # ---- what may be done with it ----

    def open(self) -> None:
        """Ask the far end for it; `opened`, `refused` or `lost` follows. Raises SSHException."""
        self.transport.add(self)
        self._asked_at = time.monotonic()
        payload = struct.pack(">BI", MSG_CHANNEL_OPEN, len(self._kind)) + self._kind
        payload += struct.pack(">III", self.number, self.window.size, LARGEST_DATA)
        self._send(payload + self._fields)
        if not self.transport.is_active():
            self.drop()

    @property
    def room(self) -> int:
        """How many bytes may be sent now."""
        return self._granted - self._sent

    def send_data(self, data: bytes) -> None:
        """Send no more than `room` and `largest` allow; waits while keys are exchanged, or for the network."""
        self._sent += len(data)
        self._send(struct.pack(">BII", MSG_CHANNEL_DATA, self._remote_number, len(data)) + data)

    def taken(self, size: int) -> None:
        """So many bytes of what was received went to where they belong; for a thread that must not send."""
        credit = self.window.taken(size)
        if credit:
            self._owe(credit, 0)

    def credit(self, size: int) -> None:
        """As `taken`, for a thread that may send, and wait for that."""
        self._grant(self.window.taken(size))

    def send_end(self) -> None:
        """Say that nothing more will be sent."""
        if not self._end_sent and not self._close_sent:
            self._end_sent = True
            self._send(struct.pack(">BI", MSG_CHANNEL_EOF, self._remote_number))

    def send_close(self) -> None:
        """Close it; nothing that arrives from now on is wanted."""
        if not self._close_sent:
            self._close_sent = True
            self._send(struct.pack(">BI", MSG_CHANNEL_CLOSE, self._remote_number))

    def drop(self) -> None:
        """The transport has ended."""
        if not self._over:
            self._forget()
            self.lost()

    # ---- packets ----

    def take(self, kind: int, payload: memoryview) -> bool:
        """Take a packet that is for this stream; whether it is of a kind that a stream has. Raises SSHException."""
        is_open = self.largest > 0
        if is_open == (kind in (MSG_CHANNEL_OPEN_SUCCESS, MSG_CHANNEL_OPEN_FAILURE)):
            # RFC 4254, section 5.1: the answer to the request comes first, and once.
            raise paramiko.SSHException(
                "it opened a channel twice" if is_open else "it used a channel before it opened it"
            )
        if kind == MSG_CHANNEL_DATA:
            (size,) = struct.unpack_from(">I", payload, 5)
            data = payload[9 : 9 + size]
            self.window.received(len(data))
            if self._close_sent:
                self.taken(len(data))
            else:
                self.received(data)
        elif kind == MSG_CHANNEL_WINDOW_ADJUST:
            had_room = self.room > 0
            (more,) = struct.unpack_from(">I", payload, 5)
            self._granted += more
            if not had_room and self.room > 0:
                self.may_send_more()
        elif kind == MSG_CHANNEL_EOF:
            if not self._eof_received:
                self._eof_received = True
                self.ended()
        elif kind == MSG_CHANNEL_CLOSE:
            self._forget()
            self.later(self.send_close)
            self.closed()
        elif kind == MSG_CHANNEL_OPEN_SUCCESS:
            self._remote_number, self._granted, largest = struct.unpack_from(">III", payload, 5)
            self.largest = min(largest, self.transport.largest_data)
            if self.largest <= 0:
                raise paramiko.SSHException("it takes no packet of any size")
            self.transport.path.saw(time.monotonic() - self._asked_at)
            self.opened()
        elif kind == MSG_CHANNEL_OPEN_FAILURE:
            (code,) = struct.unpack_from(">I", payload, 5)
            self._forget()
            self.refused(paramiko.ChannelException(code, CONNECTION_FAILED_CODE.get(code, "unknown reason")))
        elif kind == MSG_CHANNEL_REQUEST:
            self._refuse_request(Message(bytes(payload[5:])))
        else:
            return False
        return True

    def _refuse_request(self, message: Message) -> None:
        # A server that looks whether we are alive asks for something that no stream has.
        message.get_binary()
        if message.get_boolean():
            self._owe(0, 1)

    def _owe(self, credit: int, refusals: int) -> None:
        """Have the peer sent what it waits for, soon, and together with whatever else it is owed by then."""
        with self._owing:
            self._credit += credit
            self._refusals += refusals
            if self._refusals > REQUESTS_LIMIT:
                raise paramiko.SSHException("it asks for more than it lets us answer")
            if self._is_settling:
                return
            self._is_settling = True
        self.later(self._settle)

    def _settle(self) -> None:
        with self._owing:
            credit, self._credit = self._credit, 0
            refusals, self._refusals = self._refusals, 0
            self._is_settling = False
        self._grant(credit)
        for _ in range(refusals):
            if not self._close_sent:
                self._send(struct.pack(">BI", MSG_CHANNEL_FAILURE, self._remote_number))

    def _grant(self, credit: int) -> None:
        if credit and not self._close_sent:
            self._send(struct.pack(">BII", MSG_CHANNEL_WINDOW_ADJUST, self._remote_number, credit))

    def _send(self, payload: bytes) -> None:
        self.transport._send_user_message(paramiko.Message(payload))

    def _forget(self) -> None:
        self._over = True
        self.window.close()
        self.transport.remove(self)
