"""When Slurm is asked whether a job still runs."""

from typing import Any

import pytest

from notebooks_over_ssh.launchers import slurm
from notebooks_over_ssh.launchers.base import Job, JobEndedError

TOKEN = "0123456789abcdef"  # it is no secret
JOB = Job(id=12, cluster="", token=TOKEN, submitted="2026-01-01T00:00:00Z", node="n1")
RECENT_S = 60.0
LOGIN: Any = None


class Slurm:
    """Answers that the job is in this state."""

    def __init__(self) -> None:
        self.state = "RUNNING"
        self.asked = 0

    def run(self, login: object, program: str, parameters: object, timeout_s: float) -> dict[str, Any]:
        self.asked += 1
        entry = {
            "id": 12, "token": TOKEN, "state": self.state, "reason": "None", "start": None, "seconds_left": None,
            "node": "n1", "is_active": self.state == "RUNNING",
        }  # fmt: skip
        return {
            "job": entry, "cluster": "", "submitted": "", "marker": "", "output": "", "log": [],
        }  # fmt: skip


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    cluster = Slurm()
    monkeypatch.setattr(slurm, "_run", cluster.run)
    return cluster


def test_recent_answer(cluster: Slurm) -> None:
    """An answer that the job runs counts for a moment, if that is good enough, and for that job only."""
    launcher: Any = slurm.SlurmLauncher()
    launcher.state(LOGIN, JOB)
    assert launcher._current_job(LOGIN, JOB, RECENT_S) == JOB
    assert cluster.asked == 1
    launcher._current_job(LOGIN, JOB)
    assert cluster.asked == 2
    launcher._current_job(LOGIN, Job(id=13, cluster="", token="f" * 16, submitted="", node="n2"), RECENT_S)
    assert cluster.asked == 3


def test_end_of_the_job(cluster: Slurm) -> None:
    """After an answer that it has ended, an earlier one no longer counts."""
    launcher: Any = slurm.SlurmLauncher()
    launcher.state(LOGIN, JOB)
    cluster.state = "CANCELLED"
    launcher.state(LOGIN, JOB)
    with pytest.raises(JobEndedError):
        launcher._current_job(LOGIN, JOB, RECENT_S)
