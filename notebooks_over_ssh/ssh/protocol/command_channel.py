"""A session on a gateway whose command is the way to the next hop: its output and input are that hop's connection."""

import struct
from typing import Any, NamedTuple

from paramiko.common import MSG_CHANNEL_EXTENDED_DATA

from notebooks_over_ssh.ssh.protocol.channel import SESSION
from notebooks_over_ssh.ssh.protocol.exec_request import exec_request
from notebooks_over_ssh.ssh.protocol.jump_channel import CarrierChannel

MAX_ERROR_BYTES = 2000
MAX_LINES = 5


class HopCommand(NamedTuple):
    """A command for the gateway, and the input that it reads before the connection begins."""

    command: str
    stdin: bytes


class CommandChannel(CarrierChannel):
    """Carries the connection to what a command on the gateway leads to."""

    def __init__(self, transport: Any, command: HopCommand) -> None:
        super().__init__(transport, SESSION)
        self._command = command
        self._errors = b""

    def connect(self, timeout_s: float) -> None:
        """Start the command. Raises TimeoutError, ChannelException, SSHException, OSError."""
        super().connect(timeout_s)
        self.transport._send_user_message(
            exec_request(self._remote_id, self._command.command, want_reply=False)
        )
        stdin = self._command.stdin
        while stdin:
            stdin = stdin[self.send(stdin) :]

    def stderr_tail(self) -> tuple[str, ...]:
        """The last lines that the command wrote to its standard error."""
        return tuple(self._errors.decode("utf-8", "replace").splitlines()[-MAX_LINES:])

    def handle_packet(self, message_type: int, payload: memoryview) -> bool:
        if message_type == MSG_CHANNEL_EXTENDED_DATA and self.max_packet_size > 0:
            # It counts against the window (RFC 4254, section 5.2).
            (size,) = struct.unpack_from(">I", payload, 9)
            self.window.on_received(size)
            self._errors = (self._errors + bytes(payload[13 : 13 + size]))[-MAX_ERROR_BYTES:]
            self.consumed(size)
            return True
        return super().handle_packet(message_type, payload)
