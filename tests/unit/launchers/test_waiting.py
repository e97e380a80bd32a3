"""How often a queue is asked."""

from typing import Any

import pytest

from notebooks_over_ssh.launchers import slurm
from notebooks_over_ssh.launchers.base import Job
from notebooks_over_ssh.launchers.slurm_errors import SlurmUnavailableError

JOB = Job(id=12, cluster="", token="0123456789abcdef", submitted="2026-01-01T00:00:00Z")
HOURS_S = 6 * 3600
POSITION_REQUESTS = 2 * HOURS_S / 900
"""Every 15 minutes squeue asks for the jobs and for the partitions."""


def test_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look comes after a second or two. A queue of six hours costs a request every 30 s, and so it does while
    other commands share the looks.
    """
    waits: list[float] = []
    ages: list[float] = []

    def run(login: object, program: str, parameters: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        assert timeout_s > parameters["wait_s"]
        waits.append(parameters["wait_s"])
        ages.append(parameters["max_age_s"])
        if len(waits) == 1:
            raise SlurmUnavailableError("the controller is down")
        is_queued = sum(waits) < HOURS_S
        job = {
            "id": JOB.id, "token": JOB.token, "state": "PENDING" if is_queued else "RUNNING", "reason": "Priority",
            "start": None, "seconds_left": None, "node": "" if is_queued else "n1", "is_active": True,
        }  # fmt: skip
        return {
            "problem": "",
            "job": job,
            "cluster": "",
            "submitted": "",
            "marker": "",
            "output": "",
            "log": [],
        }

    monkeypatch.setattr(slurm, "_run", run)
    launcher: Any = slurm.SlurmLauncher()
    assert len(list(launcher._wait(None, JOB))) == len(waits)
    assert 1 <= waits[0] <= 2
    assert all(age < wait for age, wait in zip(ages, waits, strict=True)), "each look of an own wait is new"
    alone = len(waits)
    shared = HOURS_S / slurm.MAX_LOOK_AGE_S + sum(wait < slurm.MAX_LOOK_AGE_S for wait in waits)
    for looks in (alone, shared):
        assert looks + POSITION_REQUESTS <= HOURS_S / 30
