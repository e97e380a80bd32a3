"""How often a queue is asked."""

from types import SimpleNamespace
from typing import Any

import pytest

from notebooks_over_ssh.launchers import slurm
from notebooks_over_ssh.launchers.base import Job

JOB = Job(id=12, cluster="", token="0123456789abcdef", submitted="2026-01-01T00:00:00Z")
HOURS_S = 6 * 3600


def test_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look comes after a second or two, and a queue of six hours costs one request every 30 s."""
    pauses: list[float] = []
    monkeypatch.setattr(slurm, "Event", lambda: SimpleNamespace(wait=pauses.append))
    launcher: Any = slurm.SlurmLauncher()

    def query(login: object, job: Job) -> SimpleNamespace:
        phase = "queued" if sum(pauses) < HOURS_S else "running"
        return SimpleNamespace(to_state=lambda known: SimpleNamespace(phase=phase))

    monkeypatch.setattr(launcher, "_query", query)
    replies = list(launcher._wait(None, JOB))
    assert len(replies) == len(pauses)
    assert 1 <= pauses[0] <= 2
    assert max(pauses) == 30
    assert len(pauses) < HOURS_S / 30 + 12
