"""OpenSSH's multiplexing protocol: what a master sends is parsed in pieces of any size, and nothing of it does harm."""

import random
import struct

import pytest

from notebooks_over_ssh.ssh.mux import messages
from notebooks_over_ssh.ssh.mux.messages import Message, MessageReader, MuxError


def framed(*numbers: int, rest: bytes = b"") -> bytes:
    body = struct.pack(f">{len(numbers)}I", *numbers) + rest
    return struct.pack(">I", len(body)) + body


REFUSAL = framed(messages.FAILURE, 7, 15, rest=b"Session refused")
REPLIES = {
    messages.hello(): Message(messages.HELLO, messages.VERSION),
    framed(messages.ALIVE, 7, 4321): Message(messages.ALIVE, 7, 4321),
    framed(messages.SESSION_OPENED, 7, 2): Message(messages.SESSION_OPENED, 7, 2),
    framed(messages.EXIT_MESSAGE, 2, 3): Message(messages.EXIT_MESSAGE, 2, 3),
    REFUSAL: Message(messages.FAILURE, 7, reason="Session refused"),
    framed(0x80000042, 7, rest=b"of a later version"): Message(0x80000042, 7),
}


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_replies(size: int) -> None:
    """Each reply is parsed, however the stream is cut."""
    stream = b"".join(REPLIES)
    reader = MessageReader()
    received: list[Message] = []
    for offset in range(0, len(stream), size):
        received += reader.receive_data(stream[offset : offset + size])
    assert received == list(REPLIES.values())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(struct.pack(">I", 7), id="too short"),
        pytest.param(struct.pack(">I", messages.MAX_MESSAGE_BYTES + 1), id="too long"),
        pytest.param(framed(messages.ALIVE, 7), id="truncated"),
        pytest.param(framed(messages.FAILURE, 7), id="without its reason"),
    ],
)
def test_malformed_message(data: bytes) -> None:
    """A message of a wrong size is an error."""
    with pytest.raises(MuxError):
        MessageReader().receive_data(data)


def test_long_reason() -> None:
    """A reason is truncated."""
    (message,) = MessageReader().receive_data(framed(messages.FAILURE, 7, 10_000, rest=10_000 * b"x"))
    assert len(message.reason) == messages.MAX_REASON_LENGTH


def test_random_input() -> None:
    """Of 10 000 inputs made of valid replies with random changes, each is parsed or is a MuxError."""
    source = random.Random(1)  # not a secret
    for _ in range(10_000):
        data = bytearray(b"".join(source.choices(list(REPLIES), k=3)))
        for _ in range(source.randrange(4)):
            data[source.randrange(len(data))] = source.randrange(256)
        reader = MessageReader()
        try:
            for offset in range(0, len(data), 16):
                reader.receive_data(bytes(data[offset : offset + 16]))
        except MuxError:
            pass


def test_requests() -> None:
    """The requests have the fields of PROTOCOL.mux, flags and ports as uint32."""
    assert messages.hello() == framed(1, 4)
    assert messages.alive_check(7) == framed(0x10000004, 7)
    command = struct.pack(">I", 4) + b"true"
    assert messages.new_session(7, "true") == framed(
        0x10000002, 7, 0, 0, 0, 0, 0, 0xFFFFFFFF, 0, rest=command
    )
    host = struct.pack(">I", 4) + b"host"
    assert messages.stdio_forward(7, "host", 22) == framed(
        0x10000008, 7, 0, rest=host + struct.pack(">I", 22)
    )
