"""The messages of OpenSSH's multiplexing protocol, version 4 (PROTOCOL.mux): bytes in, messages out, without a socket.

A flag is sent as a uint32, as mux.c does, although the document calls it a bool.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

VERSION = 4
# As in mux.c: a longer message is an error.
MAX_MESSAGE_BYTES = 256 * 1024
MAX_REASON_LENGTH = 200
NO_ESCAPE_CHARACTER = 0xFFFFFFFF

HELLO = 0x00000001
NEW_SESSION = 0x10000002
ALIVE_CHECK = 0x10000004
TERMINATE = 0x10000005
NEW_STDIO_FORWARD = 0x10000008
PROXY = 0x1000000F
OK = 0x80000001
PERMISSION_DENIED = 0x80000002
FAILURE = 0x80000003
EXIT_MESSAGE = 0x80000004
ALIVE = 0x80000005
SESSION_OPENED = 0x80000006
PROXY_STARTED = 0x8000000F
HOST_KEY = "host-key@notebooks-over-ssh"
"""An extension of our own: the key (base64) with which the host authenticated itself."""
PROGRAM_VERSION = "version@notebooks-over-ssh"
"""The version of the program that holds the login."""
DESCRIPTION = "login@notebooks-over-ssh"
"""What the login is, as JSON."""
REFUSALS = (PERMISSION_DENIED, FAILURE)


class MuxError(Exception):
    """The master is gone, does not answer, or does not follow the protocol; `str` is the reason."""


class MuxTimeout(MuxError):
    """The master listens and does not answer."""

    def __init__(self, pid: int) -> None:
        """`pid` is its process, 0 if that is unknown."""
        super().__init__("it does not answer")
        self.pid = pid


class MuxRefusal(MuxError):
    """The master lives and refuses a request, or the server does."""


class Message(NamedTuple):
    """A message of either side; only fields that are used here."""

    type: int
    id: int
    """The request or the session that it is about; in a HELLO, the version."""
    value: int = 0
    """The process, session or exit status that it reports."""
    reason: str = ""
    """Why the request was refused."""
    extensions: Mapping[str, str] = MappingProxyType({})
    """What a HELLO says of itself, by name."""


def hello(extensions: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """The first message of either side; a peer ignores an extension that it does not know."""
    pairs = b"".join(_string(name) + _string(value) for name, value in extensions.items())
    return _frame(struct.pack(">II", HELLO, VERSION) + pairs)


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


def proxy(request_id: int) -> bytes:
    """Speak the connection protocol (RFC 4254) from now on."""
    return _frame(struct.pack(">II", PROXY, request_id))


def terminate(request_id: int) -> bytes:
    """Ask the master to end."""
    return _frame(struct.pack(">II", TERMINATE, request_id))


def alive(request_id: int, pid: int) -> bytes:
    """The answer to an alive check."""
    return _frame(struct.pack(">III", ALIVE, request_id, pid))


def ok(request_id: int) -> bytes:
    """A request was granted."""
    return _frame(struct.pack(">II", OK, request_id))


def proxy_started(request_id: int) -> bytes:
    """The answer to `proxy`."""
    return _frame(struct.pack(">II", PROXY_STARTED, request_id))


def failure(request_id: int, reason: str) -> bytes:
    """A request was refused."""
    return _frame(struct.pack(">II", FAILURE, request_id) + _string(reason))


class MessageReader:
    """Parses what the peer sends."""

    def __init__(self) -> None:
        self._unread = b""

    def take_unread(self) -> bytes:
        """What follows the messages so far, in another protocol."""
        unread, self._unread = self._unread, b""
        return unread

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
            if messages[-1].type in (PROXY, PROXY_STARTED):
                break
        return messages


def _decode(body: bytes) -> Message:
    message_type, number = struct.unpack_from(">II", body)
    try:
        if message_type in (EXIT_MESSAGE, ALIVE, SESSION_OPENED):
            return Message(message_type, number, struct.unpack_from(">I", body, 8)[0])
        if message_type == HELLO:
            return Message(message_type, number, extensions=_decode_extensions(body))
        if message_type in REFUSALS:
            (size,) = struct.unpack_from(">I", body, 8)
            text = body[12 : 12 + min(size, MAX_REASON_LENGTH)]
            return Message(message_type, number, reason=text.decode("utf-8", "replace"))
    except struct.error as error:
        raise MuxError("it sent a truncated message") from error
    return Message(message_type, number)


def _decode_extensions(body: bytes) -> Mapping[str, str]:
    """The pairs of name and value in a HELLO. Raises struct.error."""
    texts, offset = [], 8
    while offset < len(body):
        (size,) = struct.unpack_from(">I", body, offset)
        texts.append(body[offset + 4 : offset + 4 + size].decode("utf-8", "replace"))
        offset += 4 + size
    return dict(zip(texts[::2], texts[1::2], strict=False))


def _frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">I", len(data)) + data
