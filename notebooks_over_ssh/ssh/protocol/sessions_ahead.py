"""Which sessions a transport opens ahead, and who gets them."""

import contextlib
import struct
import threading
from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.common import CONNECTION_FAILED_CODE, MSG_CHANNEL_OPEN_FAILURE, MSG_CHANNEL_OPEN_SUCCESS

from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.protocol.channel import MAX_DATA_BYTES
from notebooks_over_ssh.ssh.protocol.session_ahead import CommandAhead, Session, SessionAhead


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
    """Keeps one session ahead of the next program of a transport, once `start` was called, and perhaps a command."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._is_on = False
        self._next: SessionAhead | None = None
        self._next_command: CommandAhead | None = None
        self._may_start_commands = True

    def start(self) -> None:
        """From the next program on, keep a session ahead of each; a server that refuses one is not asked again."""
        self._is_on = True

    def take(self, session: Session) -> bool:
        """Hand a session over, if there is one; returns whether. Raises SSHException."""
        with self._lock:
            ahead, self._next = self._next, None
        if ahead is None:
            return False
        if not ahead.is_usable:
            self._is_on = not ahead.is_refused
            return False
        return ahead.hand_over(session)

    def open_session(self, open_session: Callable[[], paramiko.Channel]) -> paramiko.Channel:
        """One of Paramiko's sessions: the one that was opened ahead, else what `open_session` returns.

        Raises SSHException.
        """
        session = PlainSession(self._transport)
        try:
            channel = session.wait() if self.take(session) else open_session()
        except paramiko.ChannelException:
            self.release_command()
            raise
        self.refill()
        return channel

    def take_command(self, session: Session) -> bool:
        """Hand over a session in which the command waits for its input, if there is one; returns whether.

        Raises SSHException.
        """
        with self._lock:
            ahead = self._next_command
            if ahead is None or not ahead.is_usable:
                return False
            self._next_command = None
        return ahead.hand_over(session)

    def refill_command(self, command: str) -> None:
        """Start the command for the next `take_command`, after what is needed at once."""
        with self._lock:
            is_there = self._next_command is not None and not self._next_command.has_ended
            if is_there or not (self._is_on and self._may_start_commands):
                return
            ahead = self._next_command = CommandAhead(self._transport, command)
        with contextlib.suppress(*FAILURES):
            ahead.open()

    def release_command(self) -> None:
        """Leave its session to others, from now on: the server has refused to open another one."""
        with self._lock:
            self._may_start_commands = False
            ahead, self._next_command = self._next_command, None
        if ahead is not None:
            ahead.release()

    def refill(self) -> None:
        """Open the next session, after that which a program needs at once."""
        with self._lock:
            if not self._is_on or self._next is not None:
                return
            ahead = self._next = SessionAhead(self._transport)
        with contextlib.suppress(*FAILURES):
            ahead.open()
