"""A far end that breaks the rules harms its own transport at most: what else goes on in the process goes on."""

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
from tests.kit.two_hops import TIMEOUT_S, dial, read, read_all
from tests.kit.wait import wait_until

MAX_UINT32 = 2**32 - 1
UNKNOWN = 4711


Violation = Callable[[ScriptedPeer, int], None]


def data_for_unknown_channel(end: ScriptedPeer, number: int) -> None:
    """Data for a stream that was never opened."""
    end.data(UNKNOWN, b"for nobody")


def close_for_unknown_channel(end: ScriptedPeer, number: int) -> None:
    """The end of a stream that was never opened."""
    end.send(MSG_CHANNEL_CLOSE, UNKNOWN)


def data_without_a_length(end: ScriptedPeer, number: int) -> None:
    """A packet that ends before the length of its data."""
    end.send(MSG_CHANNEL_DATA, number, b"\0\0")


def data_shorter_than_its_length(end: ScriptedPeer, number: int) -> None:
    """A packet that ends before its data does."""
    end.send(MSG_CHANNEL_DATA, number, 1000, b"")


def data_longer_than_its_length(end: ScriptedPeer, number: int) -> None:
    """A packet that goes on after its data."""
    end.send(MSG_CHANNEL_DATA, number, 0, b"and more")


def truncated_channel_id(end: ScriptedPeer, number: int) -> None:
    """A packet that ends within the number of its stream."""
    end.send(MSG_CHANNEL_DATA, b"\0\0")


def adjust_without_size(end: ScriptedPeer, number: int) -> None:
    """A window that is to become larger, and it is not said by how much."""
    end.send(MSG_CHANNEL_WINDOW_ADJUST, number)


def overflowing_window(end: ScriptedPeer, number: int) -> None:
    """A window larger than RFC 4254, section 5.2, has them."""
    for _ in range(3):
        end.send(MSG_CHANNEL_WINDOW_ADJUST, number, MAX_UINT32)


def opened_twice(end: ScriptedPeer, number: int) -> None:
    """A stream is opened that is open."""
    end.send(MSG_CHANNEL_OPEN_SUCCESS, number, UNKNOWN, MB, 32768)


def opened_without_a_window(end: ScriptedPeer, number: int) -> None:
    """A stream is opened, and the packet ends there."""
    end.send(MSG_CHANNEL_OPEN_SUCCESS, number)


def failure_after_open(end: ScriptedPeer, number: int) -> None:
    """A stream is refused that is open."""
    end.send(MSG_CHANNEL_OPEN_FAILURE, number, 1, struct.pack(">II", 0, 0))


def extended_data(end: ScriptedPeer, number: int) -> None:
    """Data of a program's standard error, which no stream has."""
    end.send(MSG_CHANNEL_EXTENDED_DATA, number, 1, 5, b"oh no")


def unexpected_success(end: ScriptedPeer, number: int) -> None:
    """The answer to a question that nobody asked."""
    end.send(MSG_CHANNEL_SUCCESS, number)


def truncated_request(end: ScriptedPeer, number: int) -> None:
    """A request that has no name."""
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
def test_breaks_a_rule(nested: NestedTransports, violation: Violation) -> None:
    """The transport ends, and its clients are reset; or it goes on. All else goes on in any case."""
    with dial(nested.port) as peer:
        opened = nested.peer.accept()
        violation(nested.peer, opened.local_id)
        nested.assert_reset_or_working(peer, opened.local_id)
        nested.assert_others_work()


def test_sends_more_than_it_may(nested: NestedTransports) -> None:
    """Who sends more than the window loses the connection, and little of it is kept here."""
    with dial(nested.port) as peer:
        opened = nested.peer.accept()
        before = psutil.Process().memory_info().rss
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            for _ in range(256 * MB // 32768):
                if not nested.peer.transport.is_active():
                    break
                nested.peer.data(opened.local_id, bytes(32768))
        wait_until(lambda: not nested.transport.is_active(), "the transport has ended")
        assert psutil.Process().memory_info().rss - before < 100 * MB
        with pytest.raises(ConnectionResetError):
            read_all(peer)
        nested.assert_others_work()


def test_no_room_at_first(nested: NestedTransports) -> None:
    """A window of nothing is a window (RFC 4254, section 5.2): what the client says waits, and no end is sent in its place."""
    with dial(nested.port) as peer:
        peer.sendall(b"a question")
        opened = nested.peer.accept(window=0)
        nested.peer.request(opened.local_id)
        nested.peer.expect(MSG_CHANNEL_FAILURE)
        nested.peer.send(MSG_CHANNEL_WINDOW_ADJUST, opened.local_id, 4)
        kind, body = nested.peer.received.get(timeout=TIMEOUT_S)
        assert (kind, body[4:]) == (MSG_CHANNEL_DATA, b"a qu")
        nested.peer.send(MSG_CHANNEL_WINDOW_ADJUST, opened.local_id, 100)
        kind, body = nested.peer.received.get(timeout=TIMEOUT_S)
        assert (kind, body[4:]) == (MSG_CHANNEL_DATA, b"estion")
        peer.shutdown(socket.SHUT_WR)
        nested.peer.expect(MSG_CHANNEL_EOF)
        nested.peer.data(opened.local_id, b"an answer")
        assert read(peer, 9) == b"an answer"
        nested.assert_others_work()


def test_takes_no_packet(nested: NestedTransports) -> None:
    """A far end for which every packet is too large gets none; it is not told an end that the client never said."""
    with dial(nested.port) as peer:
        peer.sendall(b"a question")
        opened = nested.peer.accept(max_packet_size=0)
        nested.peer.request(opened.local_id)
        received: list[int] = []
        with contextlib.suppress(Exception):
            while not received or received[-1] not in (MSG_CHANNEL_FAILURE, MSG_CHANNEL_CLOSE):
                received.append(nested.peer.received.get(timeout=2)[0])
        assert MSG_CHANNEL_EOF not in received
        used = sum(psutil.Process().cpu_times()[:2])
        nested.assert_others_work()
        assert sum(psutil.Process().cpu_times()[:2]) - used < 1


def test_small_packets(nested: NestedTransports) -> None:
    """A far end that takes a few bytes at a time gets them all, in order."""
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
def test_a_request_on_a_stream(nested: NestedTransports, want_reply: bool) -> None:
    """A request that no stream knows is refused where an answer is wanted (RFC 4254, section 5.4), and the stream goes on."""
    with dial(nested.port) as peer:
        opened = nested.peer.accept()
        nested.peer.request(opened.local_id, want_reply=want_reply)
        if want_reply:
            nested.peer.expect(MSG_CHANNEL_FAILURE)
        nested.peer.data(opened.local_id, b"and on")
        assert read(peer, 6) == b"and on"
        peer.sendall(b"here too")
        kind, body = nested.peer.received.get(timeout=TIMEOUT_S)
        assert (kind, body[4:]) == (MSG_CHANNEL_DATA, b"here too")


def test_closed_without_an_end(nested: NestedTransports) -> None:
    """A stream that is closed before its end was said resets the client: what it got may not be all."""
    with dial(nested.port) as peer:
        opened = nested.peer.accept()
        nested.peer.data(opened.local_id, b"the first half")
        assert read(peer, 14) == b"the first half"
        nested.peer.send(MSG_CHANNEL_CLOSE, opened.local_id)
        nested.peer.expect(MSG_CHANNEL_CLOSE)
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    wait_until(lambda: not nested.transport._own_channels, "no stream is left")
    nested.assert_others_work()


def test_closed_twice(nested: NestedTransports) -> None:
    """What comes for a stream that both have closed harms nobody: its number belongs to no other yet."""
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


def test_a_target_that_never_answers(nested: NestedTransports) -> None:
    """A stream that is never opened nor refused keeps its client waiting, and nobody else."""
    with dial(nested.port) as waiting, dial(nested.port) as peer:
        nested.peer.opened.get(timeout=TIMEOUT_S)
        second = nested.peer.accept()
        nested.peer.data(second.local_id, b"hello")
        assert read(peer, 5) == b"hello"
        waiting.close()
        nested.assert_others_work()


def test_the_end_of_the_transport(nested: NestedTransports) -> None:
    """A far end that says goodbye resets its clients, those that wait included once there is no other way."""
    with dial(nested.port) as peer:
        nested.peer.accept()
        nested.peer.transport.close()
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    wait_until(lambda: not nested.transport._own_channels, "no stream is left")
    nested.assert_others_work()
