"""Runs a program of `remote_scripts/` on the host in the background, and receives its replies as they arrive."""

import contextlib
import json
import secrets
import struct
from collections.abc import Callable
from typing import Any

from paramiko.common import MSG_CHANNEL_EXTENDED_DATA

from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.program_input import build_request
from notebooks_over_ssh.ssh.protocol.channel import SESSION, Channel
from notebooks_over_ssh.ssh.protocol.exec_request import exec_request

MAX_LINE_BYTES = 4096


class BackgroundProgram(Channel):
    """A session (RFC 4254, section 6) that runs the program `name`, whose standard input stays open meanwhile.

    `on_reply` is called with each reply, a dict that has not been validated, and `on_end` once, when no more will
    follow. Both run in the receiving thread, so they must not block.
    """

    def __init__(
        self,
        transport: Any,
        name: str,
        parameters: dict[str, Any],
        on_reply: Callable[[dict[str, Any]], None],
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(transport, SESSION)
        marker = secrets.token_hex(16)
        self._command, stdin = build_request(marker, name, parameters)
        self._stdin = transport.input_prefix + stdin
        self._marker = f"{marker} ".encode()
        self._on_reply = on_reply
        self._on_end = on_end
        self._has_ended = False
        self._line = b""

    def start(self) -> None:
        """Start the program without waiting for it; if the host refuses, `on_end` is called."""
        try:
            self.open()
        except FAILURES:
            self._finish()

    def stop(self) -> None:
        """Close the session, whose program then exits."""
        self.call_soon(self.send_close)

    # ---- in the receiving thread ----

    def channel_opened(self) -> None:
        self.call_soon(self._run)

    def resume_writing(self) -> None:
        self.call_soon(self._send_input)

    def data_received(self, data: memoryview) -> None:
        self.consumed(len(data))
        *lines, line = (self._line + bytes(data)).split(b"\n")
        # A reply is shorter, so the rest of a longer line is discarded.
        self._line = line[: MAX_LINE_BYTES + 1]
        for line in lines:
            if line.startswith(self._marker) and len(line) <= MAX_LINE_BYTES:
                self._parse_reply(line.removeprefix(self._marker))

    def handle_packet(self, message_type: int, payload: memoryview) -> bool:
        if message_type == MSG_CHANNEL_EXTENDED_DATA:
            # Standard error, where start-up files complain; it counts against the window (RFC 4254, section 5.2).
            (size,) = struct.unpack_from(">I", payload, 9)
            self.window.on_received(size)
            self.consumed(size)
            return True
        return super().handle_packet(message_type, payload)

    def open_failed(self, error: Exception) -> None:
        self._finish()

    def eof_received(self) -> None:
        self._finish()

    def channel_closed(self) -> None:
        self._finish()

    def connection_lost(self) -> None:
        self._finish()

    def _parse_reply(self, reply: bytes) -> None:
        with contextlib.suppress(ValueError, RecursionError):
            fields = json.loads(reply)
            if isinstance(fields, dict):
                self._on_reply(fields)

    def _finish(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._on_end()

    # ---- in a thread that may block ----

    def _run(self) -> None:
        message = exec_request(self._remote_id, self._command, want_reply=False)
        self.transport._send_user_message(message)
        self._send_input()

    def _send_input(self) -> None:
        while self._stdin and self.send_window > 0 and not self._is_closed:
            size = min(self.send_window, self.max_packet_size)
            chunk, self._stdin = self._stdin[:size], self._stdin[size:]
            self.send_data(chunk)
