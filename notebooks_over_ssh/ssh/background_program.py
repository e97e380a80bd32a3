"""A program of `scripts/` that runs on the host beside everything else, and answers whenever it has something to say."""

import contextlib
import json
import secrets
import struct
from collections.abc import Callable
from typing import Any

from paramiko.common import MSG_CHANNEL_EXTENDED_DATA

from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.protocol.channel import Stream, program_request
from notebooks_over_ssh.ssh.remote import request

LONGEST_LINE = 4096


class BackgroundProgram(Stream):
    """A session (RFC 4254, section 6) that runs the program; nothing waits for it.

    `answered` gets each of its answers, an unchecked dict, and `over` is called once when no more will come: both in
    the thread that received them, so they must not wait.
    """

    def __init__(
        self,
        transport: Any,
        name: str,
        parameters: dict[str, Any],
        answered: Callable[[dict[str, Any]], None],
        over: Callable[[], None],
    ) -> None:
        super().__init__(transport, b"session")
        marker = secrets.token_hex(16)
        self._command, self._stdin = request(marker, name, parameters, environment="", activate="")
        self._marker = f"{marker} ".encode()
        self._answered = answered
        self._tell_over = over
        self._is_over = False
        self._line = b""

    def start(self) -> None:
        """Have it run; returns at once. A host that refuses is one where it is over."""
        try:
            self.open()
        except FAILURES:
            self._end()

    def stop(self) -> None:
        """Close the session: what runs in it finds that nobody reads any more."""
        self.later(self.send_close)

    # ---- in the thread that received it ----

    def opened(self) -> None:
        self.later(self._run)

    def may_send_more(self) -> None:
        self.later(self._send_input)

    def received(self, data: memoryview) -> None:
        self.taken(len(data))
        *lines, line = (self._line + bytes(data)).split(b"\n")
        # An answer is shorter; of anything else nothing is kept.
        self._line = line[: LONGEST_LINE + 1]
        for line in lines:
            if line.startswith(self._marker) and len(line) <= LONGEST_LINE:
                self._read(line.removeprefix(self._marker))

    def take(self, kind: int, payload: memoryview) -> bool:
        if kind == MSG_CHANNEL_EXTENDED_DATA:
            # What the start-up files of a login shell complain of (RFC 4254, section 5.2) counts in the window too.
            (size,) = struct.unpack_from(">I", payload, 9)
            self.window.received(size)
            self.taken(size)
            return True
        return super().take(kind, payload)

    def refused(self, error: Exception) -> None:
        self._end()

    def ended(self) -> None:
        self._end()

    def closed(self) -> None:
        self._end()

    def lost(self) -> None:
        self._end()

    def _read(self, answer: bytes) -> None:
        with contextlib.suppress(ValueError, RecursionError):
            fields = json.loads(answer)
            if isinstance(fields, dict):
                self._answered(fields)

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._tell_over()

    # ---- in a thread that may wait ----

    def _run(self) -> None:
        request_ = program_request(self._remote_number, self._command, wants_answer=False)
        self.transport._send_user_message(request_)
        self._send_input()

    def _send_input(self) -> None:
        while self._stdin and self.room > 0 and not self._over:
            size = min(self.room, self.largest)
            part, self._stdin = self._stdin[:size], self._stdin[size:]
            self.send_data(part)
        if not self._stdin:
            self.send_end()
