"""The status of a queued job serves other commands too, and says how many jobs are ahead."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOKEN = "0123456789abcdef"  # it is no secret
MAX_AGE_S = 35
OWN = "12|gpu,main|50"


class Controller:
    """Slurm's controller, which counts the queries at the job and at the queue. The clock of the module is `now`."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.state = "PENDING"
        self.reason = "Priority"
        self.queue: list[str] = [OWN]
        self.seconds_left: int | None = None
        self.queries = 0
        self.queue_queries = 0

    def time(self) -> float:
        return self.now

    def find(self, job_id: int, token: str) -> dict[str, Any]:
        self.queries += 1
        return {
            "id": job_id, "token": token, "state": self.state, "reason": self.reason,
            "seconds_left": self.seconds_left,
        }  # fmt: skip

    def run(self, command: list[str]) -> tuple[int, str, list[str]]:
        self.queue_queries += 1
        return 0, "\n".join(self.queue), []


@pytest.fixture
def queue_status(
    import_remote: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The module, with a home folder of its own that has the job's folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    module: Any = import_remote("queue_status")
    Path(module.slurm.job_folder(TOKEN)).mkdir()
    return module


@pytest.fixture
def controller(queue_status: Any, monkeypatch: pytest.MonkeyPatch) -> Controller:
    """The controller that the module asks."""
    controller = Controller()
    monkeypatch.setattr(queue_status, "time", controller)
    monkeypatch.setattr(queue_status.slurm, "find", controller.find)
    monkeypatch.setattr(queue_status.slurm, "run", controller.run)
    return controller


def query(queue_status: Any, job_id: int, max_running_age_s: int = 0) -> dict[str, Any]:
    """The job of the query, without its age."""
    job, _ = queue_status.query(job_id, TOKEN, MAX_AGE_S, max_running_age_s)
    fields: dict[str, Any] = job
    return fields


def test_shared(queue_status: Any, controller: Controller) -> None:
    """200 commands in a minute cost one query. The position in the queue is asked for every 15 minutes; as that takes
    two requests more, the status is then valid longer.
    """
    for _ in range(200):
        assert query(queue_status, 12)["state"] == "PENDING"
    assert (controller.queries, controller.queue_queries) == (1, 1)
    for queries in range(2, 12):
        controller.now += MAX_AGE_S
        query(queue_status, 12)
        assert (controller.queries, controller.queue_queries) == (queries, 1)
    controller.now += 900
    query(queue_status, 12)
    assert (controller.queries, controller.queue_queries) == (12, 2)
    controller.now += 3 * MAX_AGE_S - 1
    query(queue_status, 12)
    assert controller.queries == 12
    controller.now += 1
    query(queue_status, 12)
    assert controller.queries == 13
    controller.now -= 1
    query(queue_status, 12)
    assert controller.queries == 14, (
        "a status from the future is not valid: login nodes may have different clocks"
    )


def test_no_reason_yet(queue_status: Any, controller: Controller) -> None:
    """Before the scheduler has seen the job, its position is not queried, and the status is valid for a short time."""
    controller.reason = "None"
    query(queue_status, 12)
    assert controller.queue_queries == 0
    controller.now += MAX_AGE_S
    controller.reason = "Priority"
    assert query(queue_status, 12)["ahead"] == 0


def test_just_seen(queue_status: Any, controller: Controller) -> None:
    """A job that another command has seen in the queue is found without a request, for some seconds."""
    assert queue_status.find_queued() is None
    folder = Path(queue_status.slurm.job_folder(TOKEN))
    (folder / "job.json").write_text(json.dumps({"id": 12}))
    query(queue_status, 12)
    assert queue_status.find_queued()["id"] == 12
    path = folder / "last_query.json"
    own = path.read_text()
    path.write_text(json.dumps(json.loads(own) | {"host": "login.of.another.cluster"}))
    assert queue_status.find_queued() is None
    path.write_text(own)
    controller.now += queue_status.RECENT_S
    assert queue_status.find_queued() is None
    controller.state = "RUNNING"
    query(queue_status, 12)
    controller.now += MAX_AGE_S
    query(queue_status, 12)
    assert queue_status.find_queued() is None


def test_not_shared(queue_status: Any, controller: Controller) -> None:
    """The status is not valid when the job has started since, was running, was another, or cannot be read."""
    folder = Path(queue_status.slurm.job_folder(TOKEN))
    query(queue_status, 12)
    query(queue_status, 13)
    assert controller.queries == 2
    (folder / "output").touch()
    controller.state = "RUNNING"
    for queries in (3, 4):
        assert query(queue_status, 13)["state"] == "RUNNING"
        assert controller.queries == queries
    for content in ("{", "[]", json.dumps({"job": None}), json.dumps({"at": "x", "job": {"id": 13}}), "\x00"):
        (folder / "last_query.json").write_text(content)
        assert query(queue_status, 13)["state"] == "RUNNING"
    assert controller.queries == 9


@pytest.mark.parametrize(
    ("others", "ahead"),
    [
        ([], 0),
        (["1|gpu|51", "2_[1-400%10]|main|60", "3|other|99", "4|gpu|49"], 2),
        (["11|gpu|50", "13|gpu|50"], 1),
        (["5|gpu|60", "x\n6|gpu|60|", "7|gpu|-1", "8|gpu|99999999999", "9||60", "slurm_load_jobs error"], 1),
    ],
)
def test_position(queue_status: Any, controller: Controller, others: list[str], ahead: int) -> None:
    """Jobs in the same partitions count that have a higher priority, or the same and an earlier number; what cannot be
    parsed does not.
    """
    controller.queue = [*others, OWN]
    assert query(queue_status, 12)["ahead"] == ahead


def test_no_position(queue_status: Any, controller: Controller) -> None:
    """Without this job in the list, or with more than is read of it, the position is not known."""
    controller.queue = ["1|gpu|51"]
    assert queue_status.count_ahead(12) is None
    controller.queue = [OWN, "x" * queue_status.slurm.MAX_OUTPUT_BYTES]
    assert queue_status.count_ahead(12) is None


def test_running(queue_status: Any, controller: Controller) -> None:
    """The status of a running job serves those who say so, with its age and what is left of the time limit."""
    controller.state, controller.seconds_left = "RUNNING", 600
    assert queue_status.query(12, TOKEN, MAX_AGE_S, 30)[1] == 0
    controller.now += 29.9
    job, age_s = queue_status.query(12, TOKEN, MAX_AGE_S, 30)
    assert (job["seconds_left"], age_s, controller.queries) == (571, 29, 1)
    controller.now += 0.1
    assert queue_status.query(12, TOKEN, MAX_AGE_S, 30)[1] == 0
    assert queue_status.query(12, TOKEN, MAX_AGE_S, 0)[1] == 0
    assert controller.queries == 3


def test_unknown(queue_status: Any, controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    """That Slurm does not know the job serves others too."""
    answers: list[None] = []
    monkeypatch.setattr(queue_status.slurm, "find", lambda job_id, token: answers.append(None))
    for _ in range(3):
        assert queue_status.query(12, TOKEN, MAX_AGE_S, 30) == (None, 0)
    assert len(answers) == 1
    assert queue_status.query(12, TOKEN, MAX_AGE_S, 0) == (None, 0)
    assert len(answers) == 2
