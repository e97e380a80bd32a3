"""How often the scheduler is asked for the job of a server that has ended."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.launchers.base import Job, JobState
from notebooks_over_ssh.tunnel import job_watch
from notebooks_over_ssh.tunnel.job_watch import JobWatch

JOB = Job(id=12, cluster="", token="0123456789abcdef", submitted="2026-01-01T00:00:00Z", node="n1")
SESSION: Any = SimpleNamespace(job=JOB)
HOURS_S = 6 * 3600


class Scheduler:
    """A clock, and the answers of a scheduler at its times."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked_at: list[float] = []
        self.answer: JobState | Exception | None = JobState(JOB, "running", "is running")

    def job_state(self, session: object, login: object) -> JobState | None:
        self.asked_at.append(self.now)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> Scheduler:
    scheduler = Scheduler()
    monkeypatch.setattr(job_watch, "time", SimpleNamespace(monotonic=lambda: scheduler.now))
    monkeypatch.setattr(job_watch, "job_state", scheduler.job_state)
    monkeypatch.setattr(job_watch, "hops", lambda connection: ("login", "node"))
    return scheduler


def has_ended(watch: JobWatch, scheduler: Scheduler, seconds: int, session: Any = SESSION) -> bool:
    """Whether a query in these seconds says that the job has ended; the tunnel checks twice a second."""
    for _ in range(2 * seconds):
        if watch.has_ended(session, None):  # type: ignore[arg-type] # `hops` is replaced
            return True
        scheduler.now += 0.5
    return False


def test_pauses(scheduler: Scheduler) -> None:
    """The first query comes after 2 s, and in the long run there is one every 30 s."""
    assert not has_ended(JobWatch(), scheduler, HOURS_S)
    pauses = [after - before for before, after in pairwise([1000.0, *scheduler.asked_at])]
    assert pauses[0] == 2
    assert max(pauses) == 30
    assert len(pauses) < HOURS_S / 30 + 10


def test_end(scheduler: Scheduler) -> None:
    """The end of the job is noticed, also after the scheduler did not answer; a later session is queried anew."""
    watch = JobWatch()
    scheduler.answer = RemoteError("Slurm is down")
    assert not has_ended(watch, scheduler, 60)
    scheduler.answer = JobState(JOB, "ended", "was cancelled")
    assert has_ended(watch, scheduler, 60)
    scheduler.answer = JobState(JOB, "running", "is running")
    begin = scheduler.now
    assert not has_ended(watch, scheduler, 5, SimpleNamespace(job=JOB, pid=2))
    assert scheduler.asked_at[-1] == begin + 2


def test_no_job(scheduler: Scheduler) -> None:
    """Where there is no job, nothing is asked."""
    assert not has_ended(JobWatch(), scheduler, 60, SimpleNamespace(job=None))
    assert scheduler.asked_at == []
