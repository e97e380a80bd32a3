"""A window grows to the path's capacity where its data is read, stays small otherwise, and is always bounded."""

import heapq
from collections.abc import Callable
from itertools import count

import paramiko
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notebooks_over_ssh.ssh.protocol.flow_control import MAX_WINDOW, TOTAL_GROWTH_BUDGET, PathEstimate, Window

MB = 1024 * 1024
INITIAL = MB
PACKET = 32768


class Clock:
    """The time of a test."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class SimulatedPath:
    """A path with a rate and a round-trip time; the peer sends all that its window permits, in packets."""

    def __init__(self, rate: float, round_trip_s: float, path: PathEstimate | None = None) -> None:
        self.clock = Clock()
        self.path = path or PathEstimate()
        self.path.add_rtt_sample(round_trip_s)
        self.window = Window(self.path, INITIAL, self.clock)
        self.delivered = 0
        self._rate = rate
        self._one_way_s = round_trip_s / 2
        self._allowed = INITIAL
        self._free_at = self.clock()
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def run(self, seconds: float, reader_rate: float = float("inf")) -> float:
        """Advance the time by `seconds`; returns the bytes per second that the reader got."""
        before, end = self.delivered, self.clock() + seconds
        self._reader_rate, self._reader_free_at = reader_rate, self.clock()
        self._send()
        while self._events and self._events[0][0] <= end:
            self.clock.now_s, _, event = heapq.heappop(self._events)
            event()
        self.clock.now_s = end
        return (self.delivered - before) / seconds

    def _at(self, time_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time_s, next(self._order), event))

    def _send(self) -> None:
        while self._allowed >= PACKET:
            self._allowed -= PACKET
            self._free_at = max(self._free_at, self.clock()) + PACKET / self._rate
            self._at(self._free_at + self._one_way_s, self._arrive)

    def _arrive(self) -> None:
        self.window.on_received(PACKET)
        self._reader_free_at = max(self._reader_free_at, self.clock()) + PACKET / self._reader_rate
        self._at(self._reader_free_at, self._read)

    def _read(self) -> None:
        self.delivered += PACKET
        credit = self.window.consume(PACKET)
        if credit:
            self._at(self.clock() + self._one_way_s, lambda: self._adjust(credit))

    def _adjust(self, credit: int) -> None:
        self._allowed += credit
        self._send()


@pytest.mark.parametrize(
    ("rate", "round_trip_s"),
    [(100e6, 0.1), (30e6, 0.3), (250e6, 0.02), (100e6, 0.03)],
)
def test_long_fat_path(rate: float, round_trip_s: float) -> None:
    """After a few seconds the window no longer limits a transfer."""
    link = SimulatedPath(rate, round_trip_s)
    link.run(3)
    assert link.run(2) > 0.9 * rate


@pytest.mark.parametrize(("rate", "round_trip_s"), [(100e6, 0.1), (30e6, 0.3), (5e6, 0.2), (100e6, 0.001)])
def test_short_queue(rate: float, round_trip_s: float) -> None:
    """The window ends near the bandwidth-delay product: at most three times that, and a few MB, are queued before a
    keystroke.
    """
    link = SimulatedPath(rate, round_trip_s)
    link.run(8)
    assert link.window.size <= 3 * rate * round_trip_s + 8 * MB


def test_slow_reader() -> None:
    """A reader slower than the path does not make the window grow."""
    link = SimulatedPath(100e6, 0.02)
    link.run(5, reader_rate=1e6)
    assert link.window.size <= 8 * MB


def test_stopped_reader() -> None:
    """While nobody reads, the window is not opened again, and one window is buffered."""
    link = SimulatedPath(100e6, 0.1)
    link.run(3)
    link.run(3, reader_rate=1e-9)
    size = link.window.size
    before = link.delivered
    link.run(3, reader_rate=1e-9)
    assert link.delivered == before
    assert link.window.size == size <= MAX_WINDOW


def test_max_window() -> None:
    """However fast the path is, a window stays within MAX_WINDOW."""
    link = SimulatedPath(2e9, 0.2)
    link.run(4)
    assert link.window.size <= MAX_WINDOW


def test_shared_budget() -> None:
    """Many fast channels share their transport's budget, and return it when they close."""
    path = PathEstimate()
    links = [SimulatedPath(1e9, 0.1, path) for _ in range(8)]
    for link in links:
        link.run(1.5)
    assert sum(link.window.size - INITIAL for link in links) <= TOTAL_GROWTH_BUDGET
    assert path.growth_left >= 0
    for link in links:
        link.window.close()
    assert path.growth_left == TOTAL_GROWTH_BUDGET


def test_budget_is_returned() -> None:
    """After many channels opened and closed, one more grows as the first did."""
    path, sizes = PathEstimate(), []
    for _ in range(24):
        link = SimulatedPath(1e9, 0.1, path)
        link.run(1)
        sizes.append(link.window.size)
        link.window.close()
    assert sizes == sizes[:1] * len(sizes)
    assert sizes[0] * len(sizes) > TOTAL_GROWTH_BUDGET


def test_data_consumed_after_close() -> None:
    """Data consumed after the channel closed takes nothing of the budget."""
    path = PathEstimate()
    path.add_rtt_sample(0.1)
    clock = Clock()
    window = Window(path, INITIAL, clock)
    open_ = INITIAL
    for _ in range(40):
        window.on_received(open_ // 2)
        clock.now_s += 0.01
        open_ += window.consume(open_ // 2) - open_ // 2
    assert window.size > INITIAL
    window.on_received(open_)
    window.close()
    for _ in range(64):
        clock.now_s += 0.001
        window.consume(open_ // 64)
    assert path.growth_left == TOTAL_GROWTH_BUDGET


def test_window_exceeded() -> None:
    """A peer that sends one byte more than its window is refused."""
    window = Window(PathEstimate(), INITIAL, Clock())
    window.on_received(INITIAL)
    with pytest.raises(paramiko.SSHException, match="more than the window"):
        window.on_received(1)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.floats(0, 1),
            st.floats(0, 1),
            st.sampled_from([0.0, 0.0001, 0.01, 0.1, 5.0]),
            st.booleans(),
        ),
        max_size=300,
    ),
    st.sampled_from([0.0001, 0.01, 0.1, 0.5]),
)
@settings(max_examples=100, deadline=None)
def test_random_transfers(steps: list[tuple[int, float, float, float, bool]], round_trip_s: float) -> None:
    """For any sequence of sends and reads, a peer that keeps to its window is never refused, may send again once all
    was read, and the data in flight and unread stays bounded.
    """
    path, clock = PathEstimate(), Clock()
    path.add_rtt_sample(round_trip_s)
    windows = [Window(path, INITIAL, clock) for _ in range(3)]
    allowed, unread = [INITIAL] * 3, [0] * 3
    for number, sent, read, passed_s, everything in steps:
        clock.now_s += passed_s
        size = int(allowed[number] * sent)
        windows[number].on_received(size)
        allowed[number] -= size
        unread[number] += size
        take_over_port = unread[number] if everything else int(unread[number] * read)
        credit = windows[number].consume(take_over_port)
        unread[number] -= take_over_port
        assert credit >= 0
        allowed[number] += credit
        assert allowed[number] + unread[number] <= MAX_WINDOW
        assert 0 <= path.growth_left <= TOTAL_GROWTH_BUDGET
        if not unread[number]:
            assert allowed[number] >= PACKET, "the peer may not send, although all was read"
    assert sum(window.size - INITIAL for window in windows) == TOTAL_GROWTH_BUDGET - path.growth_left
    for window in windows:
        window.close()
    assert path.growth_left == TOTAL_GROWTH_BUDGET
