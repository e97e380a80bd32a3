"""A peer that violates the protocol harms its own transport at most; everything else in the process keeps working."""

import contextlib
import socket
import struct
from collections.abc import Callable

import paramiko
import psutil
import pytest
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
)

from tests.kit.nested_transports import NestedTransports
from tests.kit.scripted_peer import MB, ScriptedPeer
from tests.kit.sockets import TIMEOUT_S, dial, read, read_all
from tests.kit.wait import wait_until

MAX_UINT32 = 2**32 - 1
UNKNOWN = 4711


Violation = Callable[[ScriptedPeer, int], None]


def data_for_unknown_channel(end: ScriptedPeer, number: int) -> None:
    """Data for a channel that was never opened."""
    end.data(UNKNOWN, b"for nobody")


def close_for_unknown_channel(end: ScriptedPeer, number: int) -> None:
    """Close of a channel that was never opened."""
    end.send(MSG_CHANNEL_CLOSE, UNKNOWN)


def data_without_a_length(end: ScriptedPeer, number: int) -> None:
    """A data packet that ends before the length field."""
    end.send(MSG_CHANNEL_DATA, number, b"\0\0")


def data_shorter_than_its_length(end: ScriptedPeer, number: int) -> None:
    """A data packet with fewer bytes than its length field says."""
    end.send(MSG_CHANNEL_DATA, number, 1000, b"")


def data_longer_than_its_length(end: ScriptedPeer, number: int) -> None:
    """A data packet with more bytes than its length field says."""
    end.send(MSG_CHANNEL_DATA, number, 0, b"and more")


def truncated_channel_id(end: ScriptedPeer, number: int) -> None:
    """A packet that ends within the channel number."""
    end.send(MSG_CHANNEL_DATA, b"\0\0")


def adjust_without_size(end: ScriptedPeer, number: int) -> None:
    """A window adjustment without a size."""
    end.send(MSG_CHANNEL_WINDOW_ADJUST, number)


def overflowing_window(end: ScriptedPeer, number: int) -> None:
    """A window adjustment beyond the maximum of RFC 4254, section 5.2."""
    for _ in range(3):
        end.send(MSG_CHANNEL_WINDOW_ADJUST, number, MAX_UINT32)


def opened_twice(end: ScriptedPeer, number: int) -> None:
    """Confirmation of a channel that is already open."""
    end.send(MSG_CHANNEL_OPEN_SUCCESS, number, UNKNOWN, MB, 32768)


def opened_without_a_window(end: ScriptedPeer, number: int) -> None:
    """A confirmation that ends before the window size."""
    end.send(MSG_CHANNEL_OPEN_SUCCESS, number)


def failure_after_open(end: ScriptedPeer, number: int) -> None:
    """An open failure for a channel that is already open."""
    end.send(MSG_CHANNEL_OPEN_FAILURE, number, 1, struct.pack(">II", 0, 0))


def extended_data(end: ScriptedPeer, number: int) -> None:
    """Data of stderr, which this type of channel does not have."""
    end.send(MSG_CHANNEL_EXTENDED_DATA, number, 1, 5, b"oh no")


def unexpected_success(end: ScriptedPeer, number: int) -> None:
    """A reply to a request that was not made."""
    end.send(MSG_CHANNEL_SUCCESS, number)


def truncated_request(end: ScriptedPeer, number: int) -> None:
    """A request without a name."""
    end.send(MSG_CHANNEL_REQUEST, number, MAX_UINT32)


def empty_data(end: ScriptedPeer, number: int) -> None:
    """Data of no bytes."""
    for _ in range(100):
        end.data(number, b"")


VIOLATIONS: tuple[Violation, ...] = (
    data_for_unknown_channel,
    close_for_unknown_channel,
    data_without_a_length,
    data_shorter_than_its_length,
    data_longer_than_its_length,
    truncated_channel_id,
    adjust_without_size,
    overflowing_window,
    opened_twice,
    opened_without_a_window,
    failure_after_open,
    extended_data,
    unexpected_success,
    truncated_request,
    empty_data,
)


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda violation: violation.__name__)
def test_violation(nested: NestedTransports, violation: Violation) -> None:
    """Either the transport ends and its clients are reset, or it keeps working; all else keeps working in either
    case.
    """
    with dial(nested.port) as peer:
        channel = nested.peer.accept()
        violation(nested.peer, channel.local_id)
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            nested.peer.data(channel.local_id, b"still here")
        try:
            assert read(peer, 10) == b"still here"
        except ConnectionResetError:
            wait_until(lambda: not nested.transport.is_active(), "the transport has ended")
            assert not nested.transport._own_channels
        nested.assert_others_work()


def test_window_exceeded(nested: NestedTransports) -> None:
    """A peer that sends more than the window loses the connection, and little of the data is kept."""
    with dial(nested.port) as peer:
        channel = nested.peer.accept()
        before = psutil.Process().memory_info().rss
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            for _ in range(256 * MB // 32768):
                if not nested.peer.transport.is_active():
                    break
                nested.peer.data(channel.local_id, bytes(32768))
        wait_until(lambda: not nested.transport.is_active(), "the transport has ended")
        assert psutil.Process().memory_info().rss - before < 100 * MB
        with pytest.raises(ConnectionResetError):
            read_all(peer)
        nested.assert_others_work()


def test_initial_window_of_zero(nested: NestedTransports) -> None:
    """An initial window of zero is valid (RFC 4254, section 5.2): the client's data waits, and no EOF is sent in its
    place.
    """
    with dial(nested.port) as peer:
        peer.sendall(b"a question")
        channel = nested.peer.accept(window=0)
        nested.peer.request(channel.local_id)
        nested.peer.expect(MSG_CHANNEL_FAILURE)
        nested.peer.send(MSG_CHANNEL_WINDOW_ADJUST, channel.local_id, 4)
        kind, body = nested.peer.received.get(timeout=TIMEOUT_S)
        assert (kind, body[4:]) == (MSG_CHANNEL_DATA, b"a qu")
        nested.peer.send(MSG_CHANNEL_WINDOW_ADJUST, channel.local_id, 100)
        kind, body = nested.peer.received.get(timeout=TIMEOUT_S)
        assert (kind, body[4:]) == (MSG_CHANNEL_DATA, b"estion")
        peer.shutdown(socket.SHUT_WR)
        nested.peer.expect(MSG_CHANNEL_EOF)
        nested.peer.data(channel.local_id, b"an answer")
        assert read(peer, 9) == b"an answer"
        nested.assert_others_work()


def test_max_packet_size_too_small(nested: NestedTransports) -> None:
    """A peer whose maximum packet size is too small gets no packet, and no EOF that the client did not send."""
    with dial(nested.port) as peer:
        peer.sendall(b"a question")
        channel = nested.peer.accept(max_packet_size=0)
        nested.peer.request(channel.local_id)
        received: list[int] = []
        with contextlib.suppress(Exception):
            while not received or received[-1] not in (MSG_CHANNEL_FAILURE, MSG_CHANNEL_CLOSE):
                received.append(nested.peer.received.get(timeout=2)[0])
        assert MSG_CHANNEL_EOF not in received
        cpu_s = sum(psutil.Process().cpu_times()[:2])
        nested.assert_others_work()
        assert sum(psutil.Process().cpu_times()[:2]) - cpu_s < 1


def test_small_packets(nested: NestedTransports) -> None:
    """A peer with a maximum packet size of a few bytes gets them all, in order."""
    sent = bytes(range(256)) * 4
    with dial(nested.port) as peer:
        nested.peer.accept(max_packet_size=7)
        peer.sendall(sent)
        got = b""
        while len(got) < len(sent):
            data = nested.peer.expect(MSG_CHANNEL_DATA)[4:]
            assert 1 <= len(data) <= 7
            got += data
        assert got == sent


@pytest.mark.parametrize("want_reply", [False, True])
def test_unknown_channel_request(nested: NestedTransports, want_reply: bool) -> None:
    """An unknown channel request gets a failure if it wants a reply (RFC 4254, section 5.4), and the channel keeps
    working.
    """
    with dial(nested.port) as peer:
        channel = nested.peer.accept()
        nested.peer.request(channel.local_id, want_reply=want_reply)
        if want_reply:
            nested.peer.expect(MSG_CHANNEL_FAILURE)
        nested.peer.data(channel.local_id, b"and on")
        assert read(peer, 6) == b"and on"
        peer.sendall(b"here too")
        kind, body = nested.peer.received.get(timeout=TIMEOUT_S)
        assert (kind, body[4:]) == (MSG_CHANNEL_DATA, b"here too")


def test_close_without_eof(nested: NestedTransports) -> None:
    """A channel that closes before EOF resets the client, whose data may be incomplete."""
    with dial(nested.port) as peer:
        channel = nested.peer.accept()
        nested.peer.data(channel.local_id, b"the first half")
        assert read(peer, 14) == b"the first half"
        nested.peer.send(MSG_CHANNEL_CLOSE, channel.local_id)
        nested.peer.expect(MSG_CHANNEL_CLOSE)
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    wait_until(lambda: not nested.transport._own_channels, "no channel is left")
    nested.assert_others_work()


def test_packets_after_close(nested: NestedTransports) -> None:
    """Packets for a channel that both sides closed are harmless: no other channel has its number yet."""
    with dial(nested.port) as first, dial(nested.port):
        one, other = nested.peer.accept(), nested.peer.accept()
        for kind in (MSG_CHANNEL_EOF, MSG_CHANNEL_EOF, MSG_CHANNEL_CLOSE):
            nested.peer.send(kind, one.local_id)
        nested.peer.expect(MSG_CHANNEL_CLOSE)
        assert first.recv(1) == b""
        assert one.local_id != other.local_id
        with contextlib.suppress(EOFError, OSError):
            nested.peer.send(MSG_CHANNEL_CLOSE, one.local_id)
        nested.assert_others_work()


def test_unanswered_open(nested: NestedTransports) -> None:
    """A channel that is neither opened nor refused keeps its own client waiting, and no other."""
    with dial(nested.port) as waiting, dial(nested.port) as peer:
        nested.peer.channel_opens.get(timeout=TIMEOUT_S)
        second = nested.peer.accept()
        nested.peer.data(second.local_id, b"hello")
        assert read(peer, 5) == b"hello"
        waiting.close()
        nested.assert_others_work()


def test_disconnect(nested: NestedTransports) -> None:
    """A peer that disconnects resets its clients; queued ones too, once there is no other transport."""
    with dial(nested.port) as peer:
        nested.peer.accept()
        nested.peer.transport.close()
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    wait_until(lambda: not nested.transport._own_channels, "no channel is left")
    nested.assert_others_work()
