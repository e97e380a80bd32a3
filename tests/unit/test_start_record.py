"""The line for a queued job."""

import pytest

from notebooks_over_ssh.launchers.base import Job, JobState
from notebooks_over_ssh.launchers.progress import describe_queued
from notebooks_over_ssh.util.duration import describe_duration

JOB = Job(id=12, cluster="", token="0123456789abcdef", submitted="2026-01-01T00:00:00Z")
NOW = 1_800_000_000.0


def test_queued() -> None:
    """The line has the reason, the time waited, and Slurm's estimate if that is a second or more."""
    state = JobState(JOB, "queued", "others are ahead (Priority)", starts_at=NOW + 7260)
    line = "job 12 is queued: others are ahead (Priority); waited 40 s"
    assert describe_queued(state, 40, NOW) == f"{line}; Slurm expects to start it in 2 h 1 min"
    for starts_at in (NOW - 1, NOW + 0.4):
        assert describe_queued(state._replace(starts_at=starts_at), 40, NOW) == line
    assert describe_queued(state._replace(starts_at=None), 40, NOW) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3600, "1 h"), (3660, "1 h 1 min"), (90000, "1 d 1 h"),
        (86400 + 60, "1 d"),
    ],
)  # fmt: skip
def test_duration(seconds: float, text: str) -> None:
    """A duration has its two largest units."""
    assert describe_duration(seconds) == text
