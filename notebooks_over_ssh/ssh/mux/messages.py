"""The messages of OpenSSH's multiplexing protocol, version 4 (PROTOCOL.mux): bytes in, messages out, without a socket.

A flag is sent as a uint32, as mux.c does, although the document calls it a bool.
"""

import struct
from typing import NamedTuple

VERSION = 4
# As in mux.c: a longer message is an error.
MAX_MESSAGE_BYTES = 256 * 1024
MAX_REASON_LENGTH = 200
NO_ESCAPE_CHARACTER = 0xFFFFFFFF

HELLO = 0x00000001
NEW_SESSION = 0x10000002
ALIVE_CHECK = 0x10000004
NEW_STDIO_FORWARD = 0x10000008
PERMISSION_DENIED = 0x80000002
FAILURE = 0x80000003
EXIT_MESSAGE = 0x80000004
ALIVE = 0x80000005
SESSION_OPENED = 0x80000006
REFUSALS = (PERMISSION_DENIED, FAILURE)


class MuxError(Exception):
    """The master is gone, does not answer, or does not follow the protocol; `str` is the reason."""


class MuxRefusal(MuxError):
    """The master lives and refuses a request, or the server does."""


class Message(NamedTuple):
    """A message of the master."""

    type: int
    id: int
    """The request or the session that it is about; in a HELLO, the version."""
    value: int = 0
    """The process, session or exit status that it reports."""
    reason: str = ""
    """Why the request was refused."""


def hello() -> bytes:
    """The first message of either side."""
    return _frame(struct.pack(">II", HELLO, VERSION))


def alive_check(request_id: int) -> bytes:
    """Ask for the master's process."""
    return _frame(struct.pack(">II", ALIVE_CHECK, request_id))


def new_session(request_id: int, command: str) -> bytes:
    """Run a command without a terminal; the descriptors of its standard streams follow."""
    flags = struct.pack(">IIIII", 0, 0, 0, 0, NO_ESCAPE_CHARACTER)
    body = struct.pack(">II", NEW_SESSION, request_id) + _string("") + flags
    return _frame(body + _string("") + _string(command))


def stdio_forward(request_id: int, host: str, port: int) -> bytes:
    """Connect to a port that the server reaches; two descriptors follow, for input and output."""
    body = struct.pack(">II", NEW_STDIO_FORWARD, request_id) + _string("")
    # mux.c reads the port as a uint32, although the document calls it a string.
    return _frame(body + _string(host) + struct.pack(">I", port))


class MessageReader:
    """Parses what a master sends."""

    def __init__(self) -> None:
        self._unread = b""

    def receive_data(self, data: bytes) -> list[Message]:
        """The messages that are complete now. Raises MuxError."""
        self._unread += data
        messages = []
        while len(self._unread) >= 4:
            (size,) = struct.unpack_from(">I", self._unread)
            if not 8 <= size <= MAX_MESSAGE_BYTES:
                raise MuxError(f"it sent a message of {size} bytes")
            if len(self._unread) < 4 + size:
                break
            body, self._unread = self._unread[4 : 4 + size], self._unread[4 + size :]
            messages.append(_decode(body))
        return messages


def _decode(body: bytes) -> Message:
    message_type, number = struct.unpack_from(">II", body)
    try:
        if message_type in (EXIT_MESSAGE, ALIVE, SESSION_OPENED):
            return Message(message_type, number, struct.unpack_from(">I", body, 8)[0])
        if message_type in REFUSALS:
            (size,) = struct.unpack_from(">I", body, 8)
            text = body[12 : 12 + min(size, MAX_REASON_LENGTH)]
            return Message(message_type, number, reason=text.decode("utf-8", "replace"))
    except struct.error as error:
        raise MuxError("it sent a truncated message") from error
    return Message(message_type, number)


def _frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">I", len(data)) + data
