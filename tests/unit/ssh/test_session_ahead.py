"""A session that was opened ahead replaces the one that a program would have to open."""

import struct
from collections.abc import Callable

import paramiko
import pytest
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
)

from notebooks_over_ssh.ssh.protocol.channel import SESSION, Channel
from notebooks_over_ssh.ssh.protocol.exec_request import exec_request
from notebooks_over_ssh.ssh.protocol.session_ahead import CommandAhead, SessionAhead
from tests.kit.recording_transport import RecordingTransport

REMOTE_ID = 7
REMOTE_WINDOW = 1 << 21
COMMAND = "exec /bin/sh"


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


def start_command(transport: RecordingTransport) -> int:
    """Open session 2 for the command, and confirm it with an empty window, as OpenSSH does; returns its number."""
    transport.sessions_ahead.refill_command(COMMAND)
    assert sent(transport) == [(MSG_CHANNEL_OPEN, 2, 0)]
    payload = struct.pack(">BIIII", MSG_CHANNEL_OPEN_SUCCESS, 2, REMOTE_ID, 0, 32768)
    transport.channels[2].handle_packet(payload[0], memoryview(payload))
    transport.run_callbacks()
    assert transport.sent == [exec_request(REMOTE_ID, COMMAND, want_reply=True).asbytes()]
    transport.sent.clear()
    return 2


def reply_to_command(transport: RecordingTransport, number: int, message_type: int) -> None:
    """The server adjusts the window for the input, and answers the request."""
    adjustment = struct.pack(">BII", MSG_CHANNEL_WINDOW_ADJUST, number, REMOTE_WINDOW)
    transport.channels[number].handle_packet(MSG_CHANNEL_WINDOW_ADJUST, memoryview(adjustment))
    reply = struct.pack(">BI", message_type, number)
    transport.channels[number].handle_packet(message_type, memoryview(reply))


def test_command(transport: RecordingTransport) -> None:
    """A session with a running command is handed over with the window for its input, once, and then what comes in."""
    number = start_command(transport)
    reply_to_command(transport, number, MSG_CHANNEL_SUCCESS)
    program = Program(transport)
    assert transport.sessions_ahead.take_command(program)
    assert (program.local_id, program.events, program.send_window) == (number, ["opened"], REMOTE_WINDOW)
    assert sent(transport) == [(MSG_CHANNEL_WINDOW_ADJUST, REMOTE_ID, program.initial_window)]
    data = struct.pack(">BII", 94, number, 2) + b"hi"
    transport.channels[number].handle_packet(94, memoryview(data))
    assert program.events == ["opened", "hi"]
    assert not transport.sessions_ahead.take_command(Program(transport))


def test_command_not_started_yet(transport: RecordingTransport) -> None:
    """Before the server has started the command, nobody waits for it, and no second one is started."""
    start_command(transport)
    assert not transport.sessions_ahead.take_command(Program(transport))
    transport.sessions_ahead.refill_command(COMMAND)
    assert transport.sent == []


def test_command_has_ended(transport: RecordingTransport) -> None:
    """A command that has ended, for example by TMOUT, is not handed over, and is started again by the next use only."""
    number = start_command(transport)
    reply_to_command(transport, number, MSG_CHANNEL_SUCCESS)
    close = struct.pack(">BI", MSG_CHANNEL_CLOSE, number)
    transport.channels[number].handle_packet(MSG_CHANNEL_CLOSE, memoryview(close))
    transport.run_callbacks()
    assert [payload[0] for payload in transport.sent] == [MSG_CHANNEL_CLOSE]
    transport.sent.clear()
    assert not transport.sessions_ahead.take_command(Program(transport))
    transport.sessions_ahead.refill_command(COMMAND)
    assert [message_type for message_type, *_ in sent(transport)] == [MSG_CHANNEL_OPEN]


def test_command_refused(transport: RecordingTransport) -> None:
    """The session of a command that the server does not start is closed."""
    number = start_command(transport)
    reply_to_command(transport, number, MSG_CHANNEL_FAILURE)
    transport.run_callbacks()
    assert [payload[0] for payload in transport.sent] == [MSG_CHANNEL_CLOSE]
    assert not transport.sessions_ahead.take_command(Program(transport))


@pytest.mark.parametrize("is_confirmed", [True, False])
def test_last_session(transport: RecordingTransport, is_confirmed: bool) -> None:
    """If the server refuses a session, the command that was started ahead ends and leaves its own."""
    transport.sessions_ahead.refill_command(COMMAND)
    transport.sent.clear()
    if is_confirmed:
        confirm(transport, 2)
    refuse(transport, 1)
    if not is_confirmed:
        confirm(transport, 1)  # its place in the list
    transport.run_callbacks()
    assert MSG_CHANNEL_CLOSE in [payload[0] for payload in transport.sent]
    transport.sent.clear()
    transport.sessions_ahead.refill_command(COMMAND)
    assert transport.sent == []


@pytest.mark.parametrize("make", [SessionAhead, lambda transport: CommandAhead(transport, COMMAND)])
def test_closed_meanwhile(make: Callable[[RecordingTransport], SessionAhead]) -> None:
    """A session that the server closes just before it is handed over is not: its number is free again."""
    transport = RecordingTransport()
    ahead = make(transport)
    ahead.open()
    confirm(transport, 0)
    close = struct.pack(">BI", MSG_CHANNEL_CLOSE, 0)
    transport.channels[0].handle_packet(MSG_CHANNEL_CLOSE, memoryview(close))
    program = Program(transport)
    assert not ahead.hand_over(program)
    assert (program.events, transport.channels) == ([], [])


@pytest.mark.parametrize("message_type", [MSG_CHANNEL_SUCCESS, MSG_CHANNEL_FAILURE])
def test_reply_before_the_session_is_open(transport: RecordingTransport, message_type: int) -> None:
    """A server that answers the request for the command before it opens the session breaks the protocol."""
    transport.sessions_ahead.refill_command(COMMAND)
    reply = struct.pack(">BI", message_type, 2)
    with pytest.raises(paramiko.SSHException, match="before opening it"):
        transport.channels[2].handle_packet(message_type, memoryview(reply))
    assert not transport.sessions_ahead.take_command(Program(transport))
