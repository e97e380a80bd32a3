"""A channel and a packetizer without a socket: bytes in, callbacks and packets out."""

import struct
from typing import Any

import paramiko
import pytest
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_WINDOW_ADJUST,
)

from notebooks_over_ssh.ssh.protocol.channel import Channel
from notebooks_over_ssh.ssh.protocol.packetizer import BlockPacketizer
from tests.kit.recording_transport import RecordingTransport

REMOTE_ID = 7
WINDOW = 100


class RecordingChannel(Channel):
    """Keeps the names of its events, and the data."""

    def __init__(self, transport: Any) -> None:
        super().__init__(transport, b"session")
        self.events: list[object] = []

    def channel_opened(self) -> None:
        self.events.append("opened")

    def open_failed(self, error: paramiko.ChannelException) -> None:
        self.events.append(("open failed", error.code))

    def data_received(self, data: memoryview) -> None:
        self.events.append(bytes(data))

    def resume_writing(self) -> None:
        self.events.append("resume")

    def eof_received(self) -> None:
        self.events.append("eof")

    def channel_closed(self) -> None:
        self.events.append("closed")

    def receive(self, message_type: int, fields: bytes = b"") -> bool:
        payload = struct.pack(">BI", message_type, self.local_id) + fields
        return self.handle_packet(message_type, memoryview(payload))


@pytest.fixture
def transport() -> RecordingTransport:
    return RecordingTransport()


@pytest.fixture
def channel(transport: RecordingTransport) -> RecordingChannel:
    """A channel that has asked to be opened."""
    channel = RecordingChannel(transport)
    channel.open()
    assert transport.sent.pop()[0] == MSG_CHANNEL_OPEN
    return channel


def _confirm(channel: RecordingChannel, max_packet_size: int = 32768) -> None:
    channel.receive(MSG_CHANNEL_OPEN_SUCCESS, struct.pack(">III", REMOTE_ID, WINDOW, max_packet_size))


def _data(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def test_events_in_order(transport: RecordingTransport, channel: RecordingChannel) -> None:
    """Each packet becomes one event, and a close is answered with a close (RFC 4254, section 5.3)."""
    _confirm(channel)
    channel.receive(MSG_CHANNEL_DATA, _data(b"abc"))
    channel.receive(MSG_CHANNEL_EOF)
    channel.receive(MSG_CHANNEL_EOF)
    channel.receive(MSG_CHANNEL_CLOSE)
    assert channel.events == ["opened", b"abc", "eof", "closed"]
    assert transport.channels == []
    transport.run_callbacks()
    assert transport.sent == [struct.pack(">BI", MSG_CHANNEL_CLOSE, REMOTE_ID)]


def test_window(channel: RecordingChannel) -> None:
    """Data uses up the send window, and an adjustment of an empty one resumes writing (RFC 4254, section 5.2)."""
    _confirm(channel)
    channel.receive(MSG_CHANNEL_WINDOW_ADJUST, struct.pack(">I", 1))
    channel.send_data(b"x" * (WINDOW + 1))
    assert channel.send_window == 0
    channel.receive(MSG_CHANNEL_WINDOW_ADJUST, struct.pack(">I", 50))
    assert channel.send_window == 50
    assert channel.events == ["opened", "resume"]


def test_open_failure(transport: RecordingTransport, channel: RecordingChannel) -> None:
    """A channel that the peer does not open is unregistered."""
    channel.receive(MSG_CHANNEL_OPEN_FAILURE, struct.pack(">III", 2, 0, 0))
    assert channel.events == [("open failed", 2)]
    assert transport.channels == []


def test_data_before_confirmation(channel: RecordingChannel) -> None:
    """Data on a channel that is not open ends the connection (RFC 4254, section 5.1)."""
    with pytest.raises(paramiko.SSHException):
        channel.receive(MSG_CHANNEL_DATA, _data(b"abc"))
    assert channel.events == []


def test_second_confirmation(channel: RecordingChannel) -> None:
    """A second confirmation of one channel ends the connection (RFC 4254, section 5.1)."""
    _confirm(channel)
    with pytest.raises(paramiko.SSHException):
        _confirm(channel)
    assert channel.events == ["opened"]


def test_request_is_refused(transport: RecordingTransport, channel: RecordingChannel) -> None:
    """A request that wants a reply gets a failure (RFC 4254, section 5.4), sent by another thread."""
    _confirm(channel)
    name = b"keepalive@openssh.com"
    for want_reply in (True, False):
        channel.receive(
            MSG_CHANNEL_REQUEST, struct.pack(">I", len(name)) + name + struct.pack(">?", want_reply)
        )
    assert transport.sent == []
    transport.run_callbacks()
    assert transport.sent == [struct.pack(">BI", MSG_CHANNEL_FAILURE, REMOTE_ID)]


def test_packets_from_bytes() -> None:
    """Packets come out of a packetizer that has no socket, wherever the bytes are cut."""
    payloads = [bytes([MSG_CHANNEL_DATA]) + bytes([number]) * number for number in range(1, 40)]
    blocks: list[bytes] = []
    sender, receiver = BlockPacketizer(None), BlockPacketizer(None)
    sender.write_all = blocks.append
    for payload in payloads:
        sender.send_message(paramiko.Message(payload))
    received: list[bytes] = []

    def take(message_type: int, payload: memoryview) -> bool:
        received.append(bytes(payload))
        return True

    receiver.packet_handler = take
    wire = b"".join(blocks)
    for start in range(0, len(wire), 7):
        receiver.receive_data(wire[start : start + 7])
    assert received == payloads
