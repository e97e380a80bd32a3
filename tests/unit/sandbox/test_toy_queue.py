"""The toy queue: which job waits, why, and for how long."""

import pytest
from msgspec.structs import replace

from notebooks_over_ssh.sandbox.toy_slurm.queue import (
    MAX_ACTIVE_JOBS,
    MAX_ENDED_JOBS,
    MIN_JOB_AGE_S,
    WAIT_S,
    Job,
    Queue,
    RefusedError,
    Request,
    Signal,
)

NOW = 1_800_000_000.0


def request(partition: str = "main", *, limit_s: int = 600, cpus: int = 1, gpus: int = 0) -> Request:
    return Request(
        name="job",
        folder="/home",
        stdin="/dev/null",
        stdout="output",
        stderr="log",
        partition=partition,
        limit_s=limit_s,
        cpus=cpus,
        gpus=gpus,
    )


def started(queue: Queue, now: float) -> list[int]:
    return [job.id for job in queue.start_due(now)]


def fill(queue: Queue) -> list[Job]:
    """Jobs that use all CPUs of both nodes but one, running since NOW."""
    asked = request(cpus=4, limit_s=600), request(cpus=3, limit_s=900)
    jobs = [queue.submit(each, NOW - WAIT_S) for each in asked]
    assert len(queue.start_due(NOW)) == 2
    return jobs


def test_pretended_wait() -> None:
    """On free nodes a job waits a few seconds, with changing reasons and the right estimate, and then runs."""
    queue = Queue()
    job = queue.submit(request(), NOW)
    reasons = []
    for tenths in range(int(WAIT_S * 10)):
        assert started(queue, NOW + tenths / 10) == []
        assert queue.expected_start(job, NOW + tenths / 10) == queue.next_event_at(NOW) == NOW + WAIT_S
        reasons.append(queue.reason(job, NOW + tenths / 10))
    assert list(dict.fromkeys(reasons)) == ["Priority", "Resources"]
    assert (job.state, started(queue, NOW + WAIT_S), job.state) == ("PENDING", [job.id], "RUNNING")
    assert job.node == "toy-node1"
    assert queue.next_event_at(NOW + WAIT_S) == job.limit_at == NOW + WAIT_S + 600


def test_full_nodes() -> None:
    """A job that does not fit waits for the one that ends first, and the next, which would fit, for its turn."""
    queue = Queue()
    first_to_end, _ = fill(queue)
    waiting, behind = queue.submit(request(cpus=4), NOW), queue.submit(request(), NOW)
    later = NOW + WAIT_S
    assert started(queue, later) == []
    assert [queue.reason(job, later) for job in (waiting, behind)] == ["Resources", "Priority"]
    assert [queue.expected_start(job, later) for job in (waiting, behind)] == [first_to_end.limit_at, None]

    queue.finish(first_to_end, "COMPLETED", later)
    assert first_to_end.state == "COMPLETING"
    assert started(queue, later) == []  # its processes still have the node
    first_to_end.ended = later
    assert (first_to_end.state, started(queue, later)) == ("COMPLETED", [waiting.id, behind.id])
    assert (waiting.node, behind.node) == ("toy-node1", "toy-node2")


def test_gpus() -> None:
    """A job that asks for a GPU gets the node with one, and the next such job waits for it; others run meanwhile."""
    queue = Queue()
    with_gpu, another = queue.submit(request(gpus=1), NOW), queue.submit(request("gpu", gpus=1), NOW)
    without = queue.submit(request(), NOW)
    assert started(queue, NOW + WAIT_S) == [with_gpu.id, without.id]
    assert with_gpu.node == "toy-node2"
    assert queue.reason(another, NOW + WAIT_S) == "Resources"


def test_time_limit() -> None:
    """A job ends as TIMEOUT when its time is over, and not a moment before."""
    queue = Queue()
    job = queue.submit(request(limit_s=60), NOW - WAIT_S)
    queue.start_due(NOW)
    assert queue.end_due(NOW + 59.9) == []
    assert queue.end_due(NOW + 60) == [job] == queue.ending()
    job.ended = NOW + 61
    assert (job.state, queue.ending()) == ("TIMEOUT", [])


def test_signal_before_the_limit() -> None:
    """A job gets the signal that it asked for once, so long before its time limit; a short one a quarter before."""
    signal = Signal(number=15, seconds=20, to_script_only=True)
    for limit_s, seconds in ((600, 20), (60, 15)):
        queue = Queue()
        job = queue.submit(replace(request(limit_s=limit_s), signal=signal), NOW - WAIT_S)
        queue.start_due(NOW)
        moment = NOW + limit_s - seconds
        assert queue.next_event_at(NOW) == moment
        assert queue.signal_due(moment - 0.1) == []
        assert queue.signal_due(moment) == [job]
        assert queue.signal_due(moment + 1) == []
        assert queue.next_event_at(moment + 1) == job.limit_at


def test_limit_of_the_partition() -> None:
    """A job with a longer limit than its partition's never starts, and its reason says so, as with Slurm."""
    queue = Queue()
    job = queue.submit(request("gpu", limit_s=31 * 60), NOW)
    assert started(queue, NOW + 3600) == []
    assert (queue.reason(job, NOW + 3600), queue.expected_start(job, NOW)) == ("PartitionTimeLimit", None)


def test_cancelled_before_the_start() -> None:
    """A queued job that is cancelled has ended at once, and stays cancelled."""
    queue = Queue()
    job = queue.submit(request(), NOW)
    queue.finish(job, "CANCELLED", NOW + 1)
    queue.finish(job, "COMPLETED", NOW + 2)
    assert (job.state, job.ended, started(queue, NOW + WAIT_S)) == ("CANCELLED", NOW + 1, [])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (request("nothing"), "Invalid partition name"),
        (request(cpus=5), "node configuration is not available"),
        (request("gpu", gpus=2), "node configuration is not available"),
    ],
)
def test_refused(asked: Request, message: str) -> None:
    """What no node can give is refused with Slurm's message, and leaves nothing in the queue."""
    queue = Queue()
    with pytest.raises(RefusedError, match=message):
        queue.submit(asked, NOW)
    assert queue.jobs == []


def test_bounds() -> None:
    """The queue takes a limited number of jobs, and forgets ended ones after a while or when there are too many."""
    queue = Queue()
    for _ in range(MAX_ACTIVE_JOBS):
        queue.submit(request(), NOW)
    with pytest.raises(RefusedError, match="job submit limit"):
        queue.submit(request(), NOW)
    for job in queue.jobs:
        queue.finish(job, "CANCELLED", NOW)
    queue.forget_old(NOW + MIN_JOB_AGE_S - 1)
    assert len(queue.jobs) == MAX_ACTIVE_JOBS
    queue.forget_old(NOW + MIN_JOB_AGE_S)
    assert queue.jobs == []

    for number in range(MAX_ENDED_JOBS + 5):
        queue.finish(queue.submit(request(), NOW), "CANCELLED", NOW + number / 1000)
    queue.forget_old(NOW + 1)
    assert [job.id for job in queue.jobs] == list(range(queue.next_id - MAX_ENDED_JOBS, queue.next_id))
