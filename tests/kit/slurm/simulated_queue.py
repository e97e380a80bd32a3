"""Hours in a queue within seconds: the programs of the login node wait by a clock that each wait sets forward."""

import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from notebooks_over_ssh.launchers import slurm as launcher
from notebooks_over_ssh.launchers.base import Job, JobState


class SimulatedClock:
    """Stands for the modules `time` and `select` of a program, and for the latter's poll object."""

    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def register(self, descriptor: int, events: int) -> None:
        """Nobody else writes to it."""

    def poll(self, timeout_ms: float | None = None) -> Any:
        """The poll object; of that, nothing after the timeout."""
        if timeout_ms is None:
            return self
        self.now += timeout_ms / 1000
        return []


class SimulatedQueue:
    """The states of a job, as the launcher and `status` read them by job_state.py in this process."""

    def __init__(
        self, import_remote: Callable[[str], ModuleType], patch: pytest.MonkeyPatch, job: Job
    ) -> None:
        """`import_remote` returns a module that runs on the host. The caller replaces `slurm.run` or `slurm.find`."""
        self.clock = SimulatedClock()
        self._job = job
        self._program: Any = import_remote("job_state")
        patch.setattr(self._program, "time", self.clock)
        patch.setattr(self._program, "select", self.clock)
        patch.setattr(import_remote("queue_status"), "time", self.clock)
        patch.setattr(launcher, "run_program", self._run)
        self._patch = patch
        self._launcher: Any = launcher.SlurmLauncher()

    def wait(self) -> Iterator[JobState]:
        """The states that a command shows which waits for the job."""
        for reply in self._launcher._wait(None, self._job):
            yield reply.to_state(self._job)

    def status(self, max_age_s: int) -> JobState:
        """The state that `status` shows."""
        state: JobState = self._launcher.state(None, self._job, max_age_s)
        return state

    def _run(
        self, login: object, program: str, parameters: dict[str, Any], *, timeout_s: float
    ) -> dict[str, Any]:
        assert program == "job_state"
        assert timeout_s > parameters["wait_s"]
        replies: list[dict[str, Any]] = []
        self._patch.setattr(self._program, "reply", lambda **fields: replies.append(fields))
        self._program.main(parameters)
        return replies[0]
