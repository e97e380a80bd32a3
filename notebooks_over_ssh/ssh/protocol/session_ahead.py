"""A session (RFC 4254, section 6) that is opened before it is needed, which saves the next program a round trip.

Until a program is requested, it is only a number in the server: no process runs for it.
Where the command is known too, it may be started: sshd then has opened the window for its input, which saves another
round trip, and the start-up files of the login shell have run.
"""

import struct
import threading
import time
from typing import Any, Protocol

import paramiko
from paramiko.common import (
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
)

from notebooks_over_ssh.ssh.protocol.channel import SESSION, Channel, open_request
from notebooks_over_ssh.ssh.protocol.exec_request import exec_request


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
        return not self.has_ended

    @property
    def has_ended(self) -> bool:
        """Whether the server has refused or closed it."""
        return self._is_closed

    def hand_over(self, session: Session) -> bool:
        """Let `session` have the number, and what the server sends to it, beginning with its reply to the open request.

        Returns whether that is possible: not if the server has closed it. Raises SSHException.
        """
        session.local_id = self.local_id
        with self._lock:  # no other packet may come before the confirmation
            if self.has_ended:
                return False
            self._successor = session
            confirmation = self._current_confirmation()
            if not confirmation:
                return True
            self.transport.replace(self, session)
            session.handle_packet(MSG_CHANNEL_OPEN_SUCCESS, memoryview(confirmation))
        self._open_window()
        return True

    def _current_confirmation(self) -> bytes:
        """The server's confirmation of the session; b"" if it is still to come."""
        return self._confirmation

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


class CommandAhead(SessionAhead):
    """Such a session in which a command waits for its input."""

    def __init__(self, transport: Any, command: str) -> None:
        super().__init__(transport)
        self._command = command
        self._is_running = False
        self._is_released = False

    @property
    def is_usable(self) -> bool:
        """Whether the server has started the command, which has not ended."""
        return self._is_running and super().is_usable

    def channel_opened(self) -> None:
        self.call_soon(self._request)

    def release(self) -> None:
        """End the command, which was not needed; in any thread."""
        self._is_released = True
        if self.max_packet_size:
            self.call_soon(self.send_close)

    def _current_confirmation(self) -> bytes:
        """As if the server now opened the session, with the window that it has for the command's input."""
        return struct.pack(
            ">BIIII",
            *(MSG_CHANNEL_OPEN_SUCCESS, self.local_id, self._remote_id),
            *(self.send_window, self.max_packet_size),
        )

    def handle_packet(self, message_type: int, payload: memoryview) -> bool:
        with self._lock:  # no window adjustment may be lost
            if self._successor is not None:
                return self._successor.handle_packet(message_type, payload)
            is_open = self.max_packet_size > 0
            if not is_open or message_type not in (MSG_CHANNEL_SUCCESS, MSG_CHANNEL_FAILURE):
                return Channel.handle_packet(self, message_type, payload)
        self._is_running = message_type == MSG_CHANNEL_SUCCESS
        if not self._is_running:
            self.release()
        return True

    def _request(self) -> None:
        if self._is_released:
            self.send_close()
        else:
            message = exec_request(self._remote_id, self._command, want_reply=True)
            self.transport._send_user_message(message)
