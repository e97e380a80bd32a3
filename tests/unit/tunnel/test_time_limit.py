"""The warnings before the time limit of a job."""

import pytest

from notebooks_over_ssh.tunnel import time_limit
from notebooks_over_ssh.tunnel.events import TimeLimitNear
from notebooks_over_ssh.tunnel.time_limit import TimeLimit


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the module."""
    clock = Clock()
    monkeypatch.setattr(time_limit, "time", clock)
    return clock


def seconds_warned(limit: TimeLimit) -> list[float]:
    return [event.seconds_left for event in limit.check()]


def test_warnings(clock: Clock) -> None:
    """Each of three warnings comes once, at 30, 10 and 2 minutes."""
    limit = TimeLimit(3600)
    warned = []
    for _ in range(3700):
        warned += seconds_warned(limit)
        clock.now += 1
    assert warned == [1800, 600, 120]


def test_late(clock: Clock) -> None:
    """Of warnings that are due at once, one comes; so does one after the machine has slept."""
    limit = TimeLimit(300)
    assert seconds_warned(limit) == [300]
    assert seconds_warned(limit) == []
    clock.now += 290
    assert seconds_warned(limit) == [10]
    clock.now += 1000
    assert seconds_warned(limit) == []


@pytest.mark.usefixtures("clock")
def test_no_limit() -> None:
    """A job without a limit, and a server without a job, get no warning."""
    assert seconds_warned(TimeLimit(None)) == []


def test_message() -> None:
    """The warning has the time left, and what to do."""
    message = str(TimeLimitNear(600))
    assert message.startswith("the job's time limit is in 10 min: save your work")
