"""A session (RFC 4254, section 6) that is opened before it is needed, which saves the next program a round trip.

Until a program is requested, it is only a number in the server: no process runs for it.
"""

import contextlib
import struct
import threading
import time
from typing import Any, Protocol

import paramiko
from paramiko.common import (
    CONNECTION_FAILED_CODE,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
)

from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.protocol.channel import MAX_DATA_BYTES, SESSION, Channel, open_request


class Session(Protocol):
    """What takes the place of a session that was opened ahead."""

    local_id: int

    @property
    def initial_window(self) -> int:
        """How many bytes the server may send at first."""
        ...

    def handle_packet(self, message_type: int, payload: memoryview) -> bool:
        """Handle a packet, of which the first one confirms or refuses the session."""

    def transport_lost(self) -> None:
        """The transport has ended."""


class SessionAhead(Channel):
    """Such a session. The server may send no data in it until it is handed over."""

    def __init__(self, transport: Any) -> None:
        super().__init__(transport, SESSION)
        self._lock = threading.Lock()
        self._confirmation = b""
        self._successor: Session | None = None
        self.is_refused = False

    def open(self) -> None:
        """Send the open request. Raises SSHException."""
        self.transport.add(self)
        self._open_sent_at = time.monotonic()
        self._send(open_request(SESSION, self.local_id, 0))

    @property
    def is_usable(self) -> bool:
        """Whether the server has not refused or closed it."""
        return not self._is_closed

    def hand_over(self, session: Session) -> None:
        """Let `session` have the number, and what the server sends to it, beginning with its reply to the open request.

        Raises SSHException.
        """
        session.local_id = self.local_id
        with self._lock:  # no other packet may come before the confirmation
            self._successor = session
            if not self._confirmation:
                return
            self.transport.replace(self, session)
            session.handle_packet(MSG_CHANNEL_OPEN_SUCCESS, memoryview(self._confirmation))
        self._open_window()

    def handle_packet(self, message_type: int, payload: memoryview) -> bool:
        with self._lock:
            successor = self._successor
            if message_type == MSG_CHANNEL_OPEN_SUCCESS:
                self._confirmation = bytes(payload)
        if successor is None:
            return super().handle_packet(message_type, payload)
        if message_type in (MSG_CHANNEL_OPEN_SUCCESS, MSG_CHANNEL_OPEN_FAILURE):
            self.transport.replace(self, successor)
        if message_type == MSG_CHANNEL_OPEN_SUCCESS:
            super().handle_packet(message_type, payload)
            self.call_soon(self._open_window)
        return successor.handle_packet(message_type, payload)

    def transport_lost(self) -> None:
        super().transport_lost()
        if self._successor is not None:
            self._successor.transport_lost()

    def open_failed(self, error: paramiko.ChannelException) -> None:
        self.is_refused = True

    def _open_window(self) -> None:
        assert self._successor is not None, "it was handed over"
        size = self._successor.initial_window
        self._send(struct.pack(">BII", MSG_CHANNEL_WINDOW_ADJUST, self._remote_id, size))


class PlainSession:
    """Makes one of Paramiko's channels of a session that was opened ahead."""

    local_id = -1

    def __init__(self, transport: Any) -> None:
        self.initial_window: int = transport.default_window_size
        self._transport = transport
        self._replied = threading.Event()
        self._channel: paramiko.Channel | None = None
        self._error: Exception = paramiko.SSHException("the connection has ended")

    def wait(self) -> paramiko.Channel:
        """The channel, once the server has confirmed the session. Raises SSHException."""
        timeout_s = self._transport.channel_timeout
        if not self._replied.wait(timeout_s):
            self._error = paramiko.SSHException("Timeout opening channel.")  # as Paramiko's own
        self._transport.remove(self)
        if self._channel is None:
            raise self._error
        return self._channel

    def handle_packet(self, message_type: int, payload: memoryview) -> bool:
        """Handle the reply to the open request; Paramiko handles what follows."""
        if message_type == MSG_CHANNEL_OPEN_SUCCESS:
            channel: Any = paramiko.Channel(self.local_id)
            channel._set_transport(self._transport)
            channel._set_window(self.initial_window, MAX_DATA_BYTES)
            channel._set_remote_channel(*struct.unpack_from(">III", payload, 5))
            self._transport._channels.put(self.local_id, channel)
            self._transport.channels_seen[self.local_id] = True
            self._channel = channel
        elif message_type == MSG_CHANNEL_OPEN_FAILURE:
            (code,) = struct.unpack_from(">I", payload, 5)
            self._error = paramiko.ChannelException(code, CONNECTION_FAILED_CODE.get(code, "unknown reason"))
        else:
            return False
        self._replied.set()
        return True

    def transport_lost(self) -> None:
        """The connection has ended."""
        self._replied.set()


class SessionsAhead:
    """Keeps one session ahead of the next program of a transport, once `start` was called."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._is_on = False
        self._next: SessionAhead | None = None

    def start(self) -> None:
        """From the next program on, keep a session ahead of each; a server that refuses one is not asked again."""
        self._is_on = True

    def take(self, session: Session) -> bool:
        """Hand a session over, if there is one; returns whether. Raises SSHException."""
        ahead = self.pop()
        if ahead is not None:
            ahead.hand_over(session)
        return ahead is not None

    def pop(self) -> SessionAhead | None:
        """The session, which the caller has to hand over, or None."""
        with self._lock:
            ahead, self._next = self._next, None
        if ahead is None or ahead.is_usable:
            return ahead
        self._is_on = not ahead.is_refused
        return None

    def refill(self) -> None:
        """Open the next session, after that which a program needs at once."""
        with self._lock:
            if not self._is_on or self._next is not None:
                return
            ahead = self._next = SessionAhead(self._transport)
        with contextlib.suppress(*FAILURES):
            ahead.open()
