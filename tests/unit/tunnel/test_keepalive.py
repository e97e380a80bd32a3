"""Connections are kept after an outage as long as TCP may still deliver on them, and no longer."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from notebooks_over_ssh.tunnel import keepalive, unresponsive_transports
from notebooks_over_ssh.tunnel.keepalive import GRACE_S, MAX_OUTAGE_S, KeepaliveMonitor
from notebooks_over_ssh.tunnel.unresponsive_transports import MAX_TRANSPORTS, UnresponsiveTransports

CHECK_INTERVAL_S = 0.5


class Clock:
    """Stands in for the time module: time passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asleep_s = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + self.asleep_s


class FakeConnection:
    """A connection whose peer answers each keepalive by the next check, if `is_responsive`."""

    label = "ashbury"
    alive_interval_s = 0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.is_connected = True
        self.is_responsive = True
        self._has_unanswered = False
        self.last_received_at = clock.now
        self.transport = self.packetizer = self.port_transport = self

    def send_keepalive(self) -> None:
        self._has_unanswered = True

    def receive(self) -> None:
        """Receive what the peer has sent."""
        if self.is_responsive and self._has_unanswered:
            self._has_unanswered = False
            self.last_received_at = self._clock.now


class FakeTunnel:
    """A tunnel's current connection and those before it, as the supervisor checks them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.previous = UnresponsiveTransports(cast(Any, self))
        self.all: list[FakeConnection] = []
        self.closed: list[FakeConnection] = []
        self.current = self._connect()

    def has_connections(self, _: object) -> bool:
        return True

    @property
    def connection(self) -> FakeConnection:
        return self.all[-1]

    def _connect(self) -> KeepaliveMonitor:
        self.all.append(FakeConnection(self.clock))
        return KeepaliveMonitor(cast(Any, self.all[-1]))

    def pass_time(self, seconds: float, *, checking: bool = True) -> None:
        """Let time pass; the connections are checked unless an attempt to reconnect is under way."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now += CHECK_INTERVAL_S
            for connection in self.all:
                connection.receive()
            if checking:
                self.current.check()
                self.previous.check(self.current.last_received_at)

    def break_path(self) -> None:
        """Begin an outage, and let it be noticed."""
        for connection in self.all:
            connection.is_responsive = False
        while not self.current.check():
            self.pass_time(CHECK_INTERVAL_S)

    def replace(self) -> None:
        """Connect anew: the path is restored, though not for data that TCP has yet to retransmit."""
        self.previous.add(self.current)
        self.current = self._connect()
        self.current.path_restored()
        self.previous.path_restored()

    def answers_again(self, *connections: FakeConnection) -> None:
        for connection in connections:
            connection.is_responsive = True
        self.pass_time(2 * CHECK_INTERVAL_S)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of `keepalive`."""
    created = Clock()
    monkeypatch.setattr(keepalive, "time", created)
    return created


@pytest.fixture
def tunnel(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> FakeTunnel:
    """A tunnel whose connection is new."""
    created = FakeTunnel(clock)
    monkeypatch.setattr(
        unresponsive_transports, "close", lambda connection, _: created.closed.append(connection)
    )
    monkeypatch.setattr(unresponsive_transports, "_has_local_address", lambda _: True)
    return created


def outage(tunnel: FakeTunnel, seconds: float) -> float:
    """An outage that ends with a new connection; returns how long the old one was silent."""
    started_at = tunnel.clock.now
    tunnel.break_path()
    tunnel.pass_time(started_at + seconds - tunnel.clock.now, checking=False)
    silent_s = tunnel.clock.now - tunnel.current.last_received_at
    tunnel.replace()
    return silent_s


def wait_until_closed(tunnel: FakeTunnel, connection: FakeConnection) -> float:
    """How long it takes until the connection is closed."""
    started_at = tunnel.clock.now
    while connection not in tunnel.closed:
        assert tunnel.clock.now - started_at < 1000, "it is never closed"
        tunnel.pass_time(CHECK_INTERVAL_S)
    return tunnel.clock.now - started_at


@pytest.mark.parametrize("outage_s", [15, 20, 45, 60, 300])
def test_silent_connection(tunnel: FakeTunnel, outage_s: int) -> None:
    """A silent connection is kept as long again as the outage lasted, 60 s at most; it is closed soon after that."""
    old = tunnel.connection
    silent_s = min(outage(tunnel, outage_s), MAX_OUTAGE_S)
    kept_s = wait_until_closed(tunnel, old)
    assert silent_s + GRACE_S < kept_s <= silent_s + GRACE_S + keepalive.KEEPALIVE_INTERVAL_S + 1


def test_answer_in_time(tunnel: FakeTunnel) -> None:
    """A connection that answers at the last moment is kept for good."""
    old = tunnel.connection
    tunnel.pass_time(outage(tunnel, 60))
    tunnel.answers_again(old)
    tunnel.pass_time(1000)
    assert not tunnel.closed


def test_answer_while_connecting(tunnel: FakeTunnel) -> None:
    """A connection that answers before the new one is ready, and then has nothing to say, is kept."""
    old = tunnel.connection
    tunnel.break_path()
    tunnel.answers_again(old)
    tunnel.pass_time(8, checking=False)
    tunnel.replace()
    tunnel.pass_time(1000)
    assert not tunnel.closed


@pytest.mark.parametrize("is_replaced", [True, False])
def test_one_direction_first(tunnel: FakeTunnel, is_replaced: bool) -> None:
    """When data arrives again, the keepalive that was sent in the outage may still be on its way: it gets its time."""
    old = tunnel.connection
    tunnel.break_path()
    tunnel.pass_time(30, checking=False)
    if is_replaced:
        tunnel.replace()
    old.last_received_at = tunnel.clock.now + CHECK_INTERVAL_S / 2
    if not is_replaced:
        tunnel.pass_time(CHECK_INTERVAL_S, checking=False)
        tunnel.current.path_restored()
        while not tunnel.current.check():
            tunnel.pass_time(CHECK_INTERVAL_S)
        assert tunnel.clock.now - old.last_received_at > keepalive.KEEPALIVE_TIMEOUT_S
        tunnel.replace()
    tunnel.pass_time(25)
    assert not tunnel.closed
    tunnel.answers_again(old)
    tunnel.pass_time(1000)
    assert not tunnel.closed


def test_second_outage(tunnel: FakeTunnel) -> None:
    """A connection that was replaced in an outage survives the next one as well, in which all are silent."""
    first = tunnel.connection
    outage(tunnel, 20)
    tunnel.answers_again(first)
    tunnel.pass_time(30)
    second = tunnel.connection
    silent_s = outage(tunnel, 40)
    tunnel.pass_time(silent_s)
    assert not tunnel.closed
    tunnel.answers_again(first, second)
    tunnel.pass_time(1000)
    assert not tunnel.closed


def test_second_outage_before_an_answer(tunnel: FakeTunnel) -> None:
    """A second outage before the connection has answered gives it more time; the outage itself does not count."""
    first = tunnel.connection
    outage(tunnel, 20)
    tunnel.pass_time(10)
    silent_s = outage(tunnel, 40)
    tunnel.pass_time(silent_s)
    assert not tunnel.closed
    wait_until_closed(tunnel, first)


def test_old_connection_alone_falls_silent(tunnel: FakeTunnel) -> None:
    """A replaced connection that falls silent while the path is fine is closed after twice its silence."""
    old = tunnel.connection
    outage(tunnel, 20)
    tunnel.answers_again(old)
    tunnel.pass_time(60)
    old.is_responsive = False
    noticed_s = keepalive.KEEPALIVE_INTERVAL_S + keepalive.KEEPALIVE_TIMEOUT_S
    assert (
        2 * (noticed_s - keepalive.KEEPALIVE_INTERVAL_S)
        < wait_until_closed(tunnel, old)
        < 2 * noticed_s + 2 * GRACE_S + 2
    )


def test_sleep(tunnel: FakeTunnel) -> None:
    """The time that the machine slept counts as an outage, though the monotonic clock stops. So does a second sleep."""
    old = tunnel.connection
    tunnel.pass_time(10)
    old.is_responsive = False
    tunnel.clock.asleep_s = 40
    tunnel.pass_time(CHECK_INTERVAL_S)
    tunnel.clock.asleep_s = 50
    tunnel.break_path()
    tunnel.replace()
    tunnel.pass_time(45 + GRACE_S)
    assert not tunnel.closed
    wait_until_closed(tunnel, old)


def test_sleep_in_an_outage(tunnel: FakeTunnel) -> None:
    """So does the time that it slept while the tunnel tried to reconnect."""
    old = tunnel.connection
    tunnel.break_path()
    tunnel.clock.asleep_s = 40
    tunnel.pass_time(5, checking=False)
    tunnel.replace()
    tunnel.pass_time(45 + GRACE_S)
    assert not tunnel.closed
    wait_until_closed(tunnel, old)


def test_local_address_gone(tunnel: FakeTunnel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent connection from an address that this machine no longer has is closed once another one works."""
    monkeypatch.setattr(unresponsive_transports, "_has_local_address", lambda _: False)
    old = tunnel.connection
    outage(tunnel, 60)
    assert wait_until_closed(tunnel, old) < GRACE_S + 2


def test_local_address_gone_for_a_while(tunnel: FakeTunnel, monkeypatch: pytest.MonkeyPatch) -> None:
    """While no connection works, the address may yet return."""
    first = tunnel.connection
    outage(tunnel, 20)
    tunnel.answers_again(first)
    monkeypatch.setattr(unresponsive_transports, "_has_local_address", lambda _: False)
    tunnel.break_path()
    tunnel.pass_time(100)
    assert not tunnel.closed


def end(connection: FakeConnection) -> None:
    connection.is_connected = False


@pytest.mark.parametrize("method", [UnresponsiveTransports.close_ended, lambda each: each.check(0.0)])
def test_ended(tunnel: FakeTunnel, method: Callable[[UnresponsiveTransports], None]) -> None:
    """A connection that has ended is closed at once."""
    old = tunnel.connection
    outage(tunnel, 20)
    method(tunnel.previous)
    assert not tunnel.closed
    end(old)
    method(tunnel.previous)
    assert tunnel.closed == [old]


def test_without_forwarded_connections(tunnel: FakeTunnel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that carries nothing any more is closed, though it answers."""
    old = tunnel.connection
    outage(tunnel, 20)
    tunnel.answers_again(old)
    monkeypatch.setattr(tunnel, "has_connections", lambda _: False)
    tunnel.pass_time(CHECK_INTERVAL_S)
    assert tunnel.closed == [old]


def test_too_many(tunnel: FakeTunnel) -> None:
    """Of too many replaced connections, the one that has been silent for the longest time is closed."""
    answering = tunnel.connection
    outage(tunnel, 20)
    tunnel.answers_again(answering)
    silent = tunnel.connection
    for _ in range(MAX_TRANSPORTS):
        tunnel.previous.path_restored()
        silent_s = outage(tunnel, 20)
        tunnel.answers_again(*(each for each in tunnel.all if each is not silent))
        assert silent_s
    assert tunnel.closed == [silent]
