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

from tests.openssh.network import wait_until
from tests.tunnel.far_end import MB, FarEnd
from tests.tunnel.hops import PATIENCE_S, dial, read, read_all
from tests.tunnel.lines import Lines

LARGEST = 2**32 - 1
UNKNOWN = 4711


Deed = Callable[[FarEnd, int], None]


def data_for_nobody(end: FarEnd, number: int) -> None:
    """Data for a stream that was never opened."""
    end.data(UNKNOWN, b"for nobody")


def a_close_for_nobody(end: FarEnd, number: int) -> None:
    """The end of a stream that was never opened."""
    end.say(MSG_CHANNEL_CLOSE, UNKNOWN)


def data_without_a_length(end: FarEnd, number: int) -> None:
    """A packet that ends before the length of its data."""
    end.say(MSG_CHANNEL_DATA, number, b"\0\0")


def data_shorter_than_its_length(end: FarEnd, number: int) -> None:
    """A packet that ends before its data does."""
    end.say(MSG_CHANNEL_DATA, number, 1000, b"")


def data_longer_than_its_length(end: FarEnd, number: int) -> None:
    """A packet that goes on after its data."""
    end.say(MSG_CHANNEL_DATA, number, 0, b"and more")


def a_number_cut_off(end: FarEnd, number: int) -> None:
    """A packet that ends within the number of its stream."""
    end.say(MSG_CHANNEL_DATA, b"\0\0")


def an_adjustment_without_a_size(end: FarEnd, number: int) -> None:
    """A window that is to become larger, and it is not said by how much."""
    end.say(MSG_CHANNEL_WINDOW_ADJUST, number)


def a_window_of_everything(end: FarEnd, number: int) -> None:
    """A window larger than RFC 4254, section 5.2, has them."""
    for _ in range(3):
        end.say(MSG_CHANNEL_WINDOW_ADJUST, number, LARGEST)


def opened_twice(end: FarEnd, number: int) -> None:
    """A stream is opened that is open."""
    end.say(MSG_CHANNEL_OPEN_SUCCESS, number, UNKNOWN, MB, 32768)


def opened_without_a_window(end: FarEnd, number: int) -> None:
    """A stream is opened, and the packet ends there."""
    end.say(MSG_CHANNEL_OPEN_SUCCESS, number)


def refused_after_all(end: FarEnd, number: int) -> None:
    """A stream is refused that is open."""
    end.say(MSG_CHANNEL_OPEN_FAILURE, number, 1, struct.pack(">II", 0, 0))


def extended_data(end: FarEnd, number: int) -> None:
    """Data of a program's standard error, which no stream has."""
    end.say(MSG_CHANNEL_EXTENDED_DATA, number, 1, 5, b"oh no")


def a_success(end: FarEnd, number: int) -> None:
    """The answer to a question that nobody asked."""
    end.say(MSG_CHANNEL_SUCCESS, number)


def a_request_cut_off(end: FarEnd, number: int) -> None:
    """A request that has no name."""
    end.say(MSG_CHANNEL_REQUEST, number, LARGEST)


def no_data(end: FarEnd, number: int) -> None:
    """Data of no bytes."""
    for _ in range(100):
        end.data(number, b"")


DEEDS: tuple[Deed, ...] = (
    data_for_nobody,
    a_close_for_nobody,
    data_without_a_length,
    data_shorter_than_its_length,
    data_longer_than_its_length,
    a_number_cut_off,
    an_adjustment_without_a_size,
    a_window_of_everything,
    opened_twice,
    opened_without_a_window,
    refused_after_all,
    extended_data,
    a_success,
    a_request_cut_off,
    no_data,
)


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_breaks_a_rule(lines: Lines, deed: Deed) -> None:
    """The transport ends, and its clients are reset; or it goes on. All else goes on in any case."""
    with dial(lines.port) as peer:
        opened = lines.end.accept()
        deed(lines.end, opened.number)
        lines.ends_or_goes_on(peer, opened.number)
        lines.all_else_goes_on()


def test_sends_more_than_it_may(lines: Lines) -> None:
    """Who sends more than the window loses the connection, and little of it is kept here."""
    with dial(lines.port) as peer:
        opened = lines.end.accept()
        before = psutil.Process().memory_info().rss
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            for _ in range(256 * MB // 32768):
                if not lines.end.transport.is_active():
                    break
                lines.end.data(opened.number, bytes(32768))
        wait_until(lambda: not lines.transport.is_active(), PATIENCE_S, "the transport has ended")
        assert psutil.Process().memory_info().rss - before < 100 * MB
        with pytest.raises(ConnectionResetError):
            read_all(peer)
        lines.all_else_goes_on()


def test_no_room_at_first(lines: Lines) -> None:
    """A window of nothing is a window (RFC 4254, section 5.2): what the client says waits, and no end is sent in its place."""
    with dial(lines.port) as peer:
        peer.sendall(b"a question")
        opened = lines.end.accept(window=0)
        lines.end.request(opened.number)
        lines.end.hears(MSG_CHANNEL_FAILURE)
        lines.end.say(MSG_CHANNEL_WINDOW_ADJUST, opened.number, 4)
        kind, body = lines.end.heard.get(timeout=PATIENCE_S)
        assert (kind, body[4:]) == (MSG_CHANNEL_DATA, b"a qu")
        lines.end.say(MSG_CHANNEL_WINDOW_ADJUST, opened.number, 100)
        kind, body = lines.end.heard.get(timeout=PATIENCE_S)
        assert (kind, body[4:]) == (MSG_CHANNEL_DATA, b"estion")
        peer.shutdown(socket.SHUT_WR)
        lines.end.hears(MSG_CHANNEL_EOF)
        lines.end.data(opened.number, b"an answer")
        assert read(peer, 9) == b"an answer"
        lines.all_else_goes_on()


def test_takes_no_packet(lines: Lines) -> None:
    """A far end for which every packet is too large gets none; it is not told an end that the client never said."""
    with dial(lines.port) as peer:
        peer.sendall(b"a question")
        opened = lines.end.accept(largest=0)
        lines.end.request(opened.number)
        heard: list[int] = []
        with contextlib.suppress(Exception):
            while not heard or heard[-1] not in (MSG_CHANNEL_FAILURE, MSG_CHANNEL_CLOSE):
                heard.append(lines.end.heard.get(timeout=2)[0])
        assert MSG_CHANNEL_EOF not in heard
        used = sum(psutil.Process().cpu_times()[:2])
        lines.all_else_goes_on()
        assert sum(psutil.Process().cpu_times()[:2]) - used < 1


def test_small_packets(lines: Lines) -> None:
    """A far end that takes a few bytes at a time gets them all, in order."""
    sent = bytes(range(256)) * 4
    with dial(lines.port) as peer:
        lines.end.accept(largest=7)
        peer.sendall(sent)
        got = b""
        while len(got) < len(sent):
            data = lines.end.hears(MSG_CHANNEL_DATA)[4:]
            assert 1 <= len(data) <= 7
            got += data
        assert got == sent


@pytest.mark.parametrize("wants_answer", [False, True])
def test_a_request_on_a_stream(lines: Lines, wants_answer: bool) -> None:
    """A request that no stream knows is refused where an answer is wanted (RFC 4254, section 5.4), and the stream goes on."""
    with dial(lines.port) as peer:
        opened = lines.end.accept()
        lines.end.request(opened.number, wants_answer=wants_answer)
        if wants_answer:
            lines.end.hears(MSG_CHANNEL_FAILURE)
        lines.end.data(opened.number, b"and on")
        assert read(peer, 6) == b"and on"
        peer.sendall(b"here too")
        kind, body = lines.end.heard.get(timeout=PATIENCE_S)
        assert (kind, body[4:]) == (MSG_CHANNEL_DATA, b"here too")


def test_closed_without_an_end(lines: Lines) -> None:
    """A stream that is closed before its end was said resets the client: what it got may not be all."""
    with dial(lines.port) as peer:
        opened = lines.end.accept()
        lines.end.data(opened.number, b"the first half")
        assert read(peer, 14) == b"the first half"
        lines.end.say(MSG_CHANNEL_CLOSE, opened.number)
        lines.end.hears(MSG_CHANNEL_CLOSE)
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    wait_until(lambda: not lines.transport._streams, PATIENCE_S, "no stream is left")
    lines.all_else_goes_on()


def test_closed_twice(lines: Lines) -> None:
    """What comes for a stream that both have closed harms nobody: its number belongs to no other yet."""
    with dial(lines.port) as first, dial(lines.port):
        one, other = lines.end.accept(), lines.end.accept()
        for kind in (MSG_CHANNEL_EOF, MSG_CHANNEL_EOF, MSG_CHANNEL_CLOSE):
            lines.end.say(kind, one.number)
        lines.end.hears(MSG_CHANNEL_CLOSE)
        assert first.recv(1) == b""
        assert one.number != other.number
        with contextlib.suppress(EOFError, OSError):
            lines.end.say(MSG_CHANNEL_CLOSE, one.number)
        lines.all_else_goes_on()


def test_a_target_that_never_answers(lines: Lines) -> None:
    """A stream that is never opened nor refused keeps its client waiting, and nobody else."""
    with dial(lines.port) as waiting, dial(lines.port) as peer:
        lines.end.opened.get(timeout=PATIENCE_S)
        second = lines.end.accept()
        lines.end.data(second.number, b"hello")
        assert read(peer, 5) == b"hello"
        waiting.close()
        lines.all_else_goes_on()


def test_the_end_of_the_transport(lines: Lines) -> None:
    """A far end that says goodbye resets its clients, those that wait included once there is no other way."""
    with dial(lines.port) as peer:
        lines.end.accept()
        lines.end.transport.close()
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    wait_until(lambda: not lines.transport._streams, PATIENCE_S, "no stream is left")
    lines.all_else_goes_on()
