"""How often a queue is asked."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from notebooks_over_ssh.launchers import slurm
from notebooks_over_ssh.launchers.base import Job
from notebooks_over_ssh.launchers.slurm_errors import SlurmUnavailableError
from tests.kit.slurm.simulated_queue import SimulatedQueue

JOB = Job(id=12, cluster="", token="0123456789abcdef", submitted="2026-01-01T00:00:00Z")
QUEUED_S = 6 * 3600
STATUS_AGE_S = 35
FIRST_QUERY_REQUESTS = 3
"""One for the job; squeue asks for the jobs and for the partitions."""


class Controller:
    """Counts the requests of scontrol and squeue. The job is queued until it has an output."""

    def __init__(self, output: Path) -> None:
        self.requests = 0
        self._output = output

    def find(self, job_id: int, token: str) -> dict[str, Any]:
        self.requests += 1
        is_queued = not self._output.exists()
        return {
            "id": JOB.id, "token": JOB.token, "state": "PENDING" if is_queued else "RUNNING", "reason": "Priority",
            "start": None, "seconds_left": None, "node": "" if is_queued else "n1", "is_active": True,
        }  # fmt: skip

    def run(self, command: list[str]) -> tuple[int, str, list[str]]:
        assert command[0] == "squeue"
        self.requests += 2
        return 0, "11|gpu|50\n12|gpu|50", []


def test_a_queue_of_hours(
    import_remote: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first state comes after a second or two, with the position in the queue. From then on Slurm gets a request
    every 30 s at most, on average from the first query to any later moment, also with `status` in a loop beside it. The
    start is seen within two seconds.
    """
    monkeypatch.setenv("HOME", str(tmp_path))
    remote: Any = import_remote("slurm")
    folder = Path(remote.job_folder(JOB.token))
    folder.mkdir()
    controller = Controller(folder / "output")
    monkeypatch.setattr(remote, "find", controller.find)
    monkeypatch.setattr(remote, "run", controller.run)
    queue = SimulatedQueue(import_remote, monkeypatch, JOB)
    submitted_at = queue.clock.now
    states = queue.wait()
    state = next(states)
    assert queue.clock.now - submitted_at <= 2
    assert (state.phase, state.jobs_ahead) == ("queued", 1)
    assert controller.requests == FIRST_QUERY_REQUESTS
    first_at = queue.clock.now
    for state in states:
        if state.phase != "queued":
            break
        for _ in range(5):
            queue.status(STATUS_AGE_S)
            assert controller.requests <= FIRST_QUERY_REQUESTS + (queue.clock.now - first_at) / 30
        if queue.clock.now - submitted_at > QUEUED_S:
            folder.joinpath("output").touch()
            started_at = queue.clock.now
    assert state.phase == "running"
    assert queue.clock.now - started_at <= 2
    # The state and the position in the queue are new ones now and then.
    assert controller.requests > QUEUED_S / 60


def test_controller_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait goes on after an error of the controller, with longer and longer pauses."""
    waits: list[float] = []

    def run(login: object, program: str, parameters: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        waits.append(parameters["wait_s"])
        raise SlurmUnavailableError("the controller is down")

    monkeypatch.setattr(slurm, "_run", run)
    launcher: Any = slurm.SlurmLauncher()
    outcomes = launcher._wait(None, JOB)
    for _ in range(20):
        assert isinstance(next(outcomes), SlurmUnavailableError)
    assert waits == sorted(waits)
    assert waits[-1] > 30
