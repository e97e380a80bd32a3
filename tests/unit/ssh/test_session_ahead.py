"""A session that was opened ahead replaces the one that a program would have to open."""

import struct

import paramiko
import pytest
from paramiko.common import (
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_WINDOW_ADJUST,
)

from notebooks_over_ssh.ssh.protocol.channel import SESSION, Channel
from tests.kit.recording_transport import RecordingTransport

REMOTE_ID = 7
REMOTE_WINDOW = 1 << 21


class Program(Channel):
    """A session that records what happens to it."""

    def __init__(self, transport: RecordingTransport) -> None:
        super().__init__(transport, SESSION)
        self.events: list[str] = []

    def channel_opened(self) -> None:
        self.events.append("opened")

    def open_failed(self, error: paramiko.ChannelException) -> None:
        self.events.append("refused")

    def data_received(self, data: memoryview) -> None:
        self.events.append(bytes(data).decode())

    def connection_lost(self) -> None:
        self.events.append("lost")


def confirm(transport: RecordingTransport, number: int) -> None:
    """The server opens the channel."""
    payload = struct.pack(">BIIII", MSG_CHANNEL_OPEN_SUCCESS, number, REMOTE_ID, REMOTE_WINDOW, 32768)
    assert transport.channels[number].handle_packet(payload[0], memoryview(payload))


def refuse(transport: RecordingTransport, number: int) -> None:
    """The server refuses the channel."""
    payload = struct.pack(">BII", MSG_CHANNEL_OPEN_FAILURE, number, 1) + bytes(8)
    assert transport.channels[number].handle_packet(payload[0], memoryview(payload))


def sent(transport: RecordingTransport) -> list[tuple[int, ...]]:
    """What was sent since the last call: the type, and the number and window of an open request, or what follows it."""
    result = []
    for payload in transport.sent:
        offset = 5 + len(SESSION) if payload[0] == MSG_CHANNEL_OPEN else 1
        result.append((payload[0], *struct.unpack_from(">II", payload, offset)))
    transport.sent.clear()
    return result


@pytest.fixture
def transport() -> RecordingTransport:
    """A transport whose first program has opened session 0, and session 1 ahead, which the server has not confirmed."""
    created = RecordingTransport()
    created.sessions_ahead.start()
    first = Program(created)
    first.open()
    assert sent(created) == [
        (MSG_CHANNEL_OPEN, 0, first.initial_window),
        (MSG_CHANNEL_OPEN, 1, 0),
    ]
    return created


def test_confirmed(transport: RecordingTransport) -> None:
    """A confirmed session is the next program's at once, with its window; another one is opened ahead."""
    confirm(transport, 1)
    program = Program(transport)
    program.open()
    assert (program.local_id, program.events, program.send_window) == (1, ["opened"], REMOTE_WINDOW)
    assert sent(transport) == [
        (MSG_CHANNEL_WINDOW_ADJUST, REMOTE_ID, program.initial_window),
        (MSG_CHANNEL_OPEN, 2, 0),
    ]
    data = struct.pack(">BII", 94, 1, 2) + b"hi"
    transport.channels[1].handle_packet(94, memoryview(data))
    assert program.events == ["opened", "hi"]


def test_not_confirmed_yet(transport: RecordingTransport) -> None:
    """A program takes over the open request that is under way."""
    program = Program(transport)
    program.open()
    assert program.events == []
    confirm(transport, 1)
    transport.run_callbacks()
    assert (program.events, program.send_window) == (["opened"], REMOTE_WINDOW)
    assert sent(transport) == [
        (MSG_CHANNEL_OPEN, 2, 0),
        (MSG_CHANNEL_WINDOW_ADJUST, REMOTE_ID, program.initial_window),
    ]


def test_refused_later(transport: RecordingTransport) -> None:
    """The refusal of a session that was taken over is the program's."""
    program = Program(transport)
    program.open()
    refuse(transport, 1)
    assert program.events == ["refused"]


def test_refused(transport: RecordingTransport) -> None:
    """After a refusal, a program opens its own session, and the server is asked for no other one."""
    channel = transport.channels[1]
    refuse(transport, 1)
    assert channel not in transport.channels
    program = Program(transport)
    program.open()
    Program(transport).open()
    assert [window for _, _, window in sent(transport)] == 2 * [program.initial_window]


def test_keepalive(transport: RecordingTransport) -> None:
    """The server may ask on it whether the client still lives."""
    confirm(transport, 1)
    request = struct.pack(">BII", MSG_CHANNEL_REQUEST, 1, 1) + b"k\1"
    transport.channels[1].handle_packet(MSG_CHANNEL_REQUEST, memoryview(request))
    transport.run_callbacks()
    assert [payload[0] for payload in transport.sent] == [100]


@pytest.mark.parametrize("is_confirmed", [True, False])
def test_lost(transport: RecordingTransport, is_confirmed: bool) -> None:
    """When the connection ends, the program that has taken it over is told."""
    if is_confirmed:
        confirm(transport, 1)
    program = Program(transport)
    program.open()
    for channel in transport.channels[1:]:
        channel.transport_lost()
    assert program.events[-1] == "lost"


def test_off() -> None:
    """By default, none is opened ahead."""
    transport = RecordingTransport()
    Program(transport).open()
    assert len(transport.channels) == 1
