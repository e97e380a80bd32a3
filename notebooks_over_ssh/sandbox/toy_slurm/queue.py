"""The queue: which job waits, runs or has ended. Starts no process and reads no clock."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from notebooks_over_ssh.sandbox.paths import SandboxPaths

State = Literal[
    "PENDING", "RUNNING", "COMPLETING", "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"
]
WAIT_S = 4.0
"""How long a job waits even if a node is free, so that one sees the queue."""
MAX_ACTIVE_JOBS = 50
# As slurm.conf(5) has it: how long an ended job is known.
MIN_JOB_AGE_S = 300.0
MAX_ENDED_JOBS = 100


class Node(NamedTuple):
    """A node, which runs jobs as long as their requests fit in."""

    name: str
    cpus: int
    memory_mb: int
    gpus: int


class Partition(NamedTuple):
    """Some nodes, with the time limits of jobs on them."""

    name: str
    nodes: tuple[Node, ...]
    default_s: int
    max_s: int


NODES = (
    Node("toy-node1", cpus=4, memory_mb=8192, gpus=0),
    Node("toy-node2", cpus=4, memory_mb=8192, gpus=1),
)
PARTITIONS = {
    "main": Partition("main", NODES, default_s=30 * 60, max_s=60 * 60),
    "gpu": Partition("gpu", NODES[1:], default_s=15 * 60, max_s=30 * 60),
}
DEFAULT_PARTITION = "main"


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A signal that a job gets before its time limit."""

    number: int
    seconds: int
    """How long before."""
    to_script_only: bool
    """Whether only its script gets it, not its other processes."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What sbatch asked for."""

    name: str
    folder: str
    stdin: str
    stdout: str
    stderr: str
    comment: str = ""
    partition: str = DEFAULT_PARTITION
    limit_s: int
    cpus: int = 1
    memory_mb: int = 1024
    gpus: int = 0
    appends: bool = False
    """Whether it adds to its files, instead of replacing them."""
    signal: Signal | None = None


class Job(msgspec.Struct, kw_only=True):
    """A job. Times are seconds since 1970, 0 for what has not happened."""

    id: int
    request: Request
    submitted: float
    node: str = ""
    started: float = 0.0
    ended: float = 0.0
    is_signalled: bool = False
    outcome: State | None = None
    """The state in which it ends: known before `ended`, while its processes still end."""
    ending_since: float = 0.0

    @property
    def state(self) -> State:
        """The state, as squeue prints it."""
        if self.outcome is not None:
            return self.outcome if self.ended else "COMPLETING"
        return "RUNNING" if self.started else "PENDING"

    @property
    def limit_at(self) -> float:
        """When a running job reaches its time limit."""
        return self.started + self.request.limit_s

    @property
    def signal_at(self) -> float:
        """When a running job is to get its signal; its time limit without one.

        It comes at most a quarter of the time limit before: jobs to practise with are shorter than usual ones.
        """
        seconds = self.request.signal.seconds if self.request.signal else 0
        return self.limit_at - min(seconds, self.request.limit_s / 4)


class RefusedError(Exception):
    """The queue refuses a request: Slurm's message, for standard error."""


class Queue(msgspec.Struct, kw_only=True):
    """All jobs that are known, in the order of submission."""

    jobs: list[Job] = []
    next_id: int = 1

    def check(self, request: Request) -> None:
        """Raise RefusedError if the queue would take no such job."""
        partition = PARTITIONS.get(request.partition)
        if partition is None:
            raise RefusedError("Invalid partition name specified")
        if not any(_fits(request, (node.cpus, node.memory_mb, node.gpus)) for node in partition.nodes):
            raise RefusedError("Requested node configuration is not available")
        if sum(not job.ended for job in self.jobs) >= MAX_ACTIVE_JOBS:
            raise RefusedError("Job violates accounting/QOS policy (job submit limit)")

    def submit(self, request: Request, now: float) -> Job:
        """Add a job. Raises RefusedError."""
        self.check(request)
        job = Job(id=self.next_id, request=request, submitted=now)
        self.jobs.append(job)
        self.next_id += 1
        return job

    def find(self, job_id: int) -> Job | None:
        """The job with the number, if it is known."""
        return next((job for job in self.jobs if job.id == job_id), None)

    def start_due(self, now: float) -> list[Job]:
        """Start the jobs that have waited long enough and fit on a node, in order; returns them."""
        started = []
        # Within a partition, none overtakes an earlier job.
        full = set()
        for job in self._waiting(now):
            partition = PARTITIONS[job.request.partition]
            node = next((node for node in partition.nodes if _fits(job.request, self.free(node))), None)
            if partition.name in full or node is None:
                full.add(partition.name)
                continue
            job.node, job.started = node.name, now
            started.append(job)
        return started

    def end_due(self, now: float) -> list[Job]:
        """Let the jobs end that have reached their time limit; returns them."""
        due = [job for job in self.jobs if job.state == "RUNNING" and job.limit_at <= now]
        for job in due:
            self.finish(job, "TIMEOUT", now)
        return due

    def signal_due(self, now: float) -> list[Job]:
        """The jobs whose time has come to get the signal that they asked for; each once."""
        due = [
            job
            for job in self.jobs
            if job.request.signal and job.state == "RUNNING" and job.signal_at <= now and not job.is_signalled
        ]
        for job in due:
            job.is_signalled = True
        return due

    def finish(self, job: Job, outcome: State, now: float) -> None:
        """Let a job end, unless it does: it has ended once its processes have, or at once if it never started."""
        if job.outcome is None:
            job.outcome, job.ending_since = outcome, now
            if not job.started:
                job.ended = now

    def ending(self) -> list[Job]:
        """The jobs whose processes are to end."""
        return [job for job in self.jobs if job.state == "COMPLETING"]

    def forget_old(self, now: float) -> None:
        """Remove the jobs that ended long ago, or that are too many."""
        ended = sorted((job.ended for job in self.jobs if job.ended), reverse=True)
        oldest = max([now - MIN_JOB_AGE_S, *ended[MAX_ENDED_JOBS : MAX_ENDED_JOBS + 1]])
        self.jobs = [job for job in self.jobs if not job.ended or job.ended > oldest]

    def next_event_at(self, now: float) -> float | None:
        """When the next job is due to start, to be signalled or to end; None if none is."""
        times = [
            job.limit_at if job.is_signalled else job.signal_at for job in self.jobs if job.state == "RUNNING"
        ]
        times += [at for job in self.jobs if job.state == "PENDING" and (at := job.submitted + WAIT_S) > now]
        return min(times, default=None)

    def reason(self, job: Job, now: float) -> str:
        """Why a job waits, by squeue(1), JOB REASON CODES."""
        if job.state != "PENDING":
            return "None"
        if _never_starts(job):
            return "PartitionTimeLimit"
        waited_s = now - job.submitted
        if waited_s < WAIT_S:
            return "Priority" if waited_s < WAIT_S / 2 else "Resources"
        return "Resources" if self._first_waiting(job, now) else "Priority"

    def expected_start(self, job: Job, now: float) -> float | None:
        """When a job started, or is expected to; None if that is unknown."""
        if job.state != "PENDING" or _never_starts(job):
            return job.started or None
        if now < job.submitted + WAIT_S:
            return job.submitted + WAIT_S
        if not self._first_waiting(job, now):
            return None
        nodes = {node.name for node in PARTITIONS[job.request.partition].nodes}
        return min((other.limit_at for other in self._on_nodes() if other.node in nodes), default=None)

    def free(self, node: Node) -> tuple[int, int, int]:
        """The CPUs, memory (MB) and GPUs of a node that no job has."""
        requests = [job.request for job in self._on_nodes() if job.node == node.name]
        return (
            node.cpus - sum(request.cpus for request in requests),
            node.memory_mb - sum(request.memory_mb for request in requests),
            node.gpus - sum(request.gpus for request in requests),
        )

    def _on_nodes(self) -> Iterator[Job]:
        return (job for job in self.jobs if job.started and not job.ended)

    def _waiting(self, now: float) -> Iterator[Job]:
        for job in self.jobs:
            if job.state == "PENDING" and not _never_starts(job) and job.submitted + WAIT_S <= now:
                yield job

    def _first_waiting(self, job: Job, now: float) -> bool:
        return job is next(
            other for other in self._waiting(now) if other.request.partition == job.request.partition
        )


def queue_file(paths: SandboxPaths) -> Path:
    """The file in which the daemon keeps the jobs."""
    return paths.toy_slurm / "queue.json"


def read_queue(paths: SandboxPaths) -> Queue:
    """The jobs on file; none if there is no readable file, or one of another version."""
    try:
        queue = msgspec.json.decode(queue_file(paths).read_bytes(), type=Queue)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return Queue()
    return queue if all(job.request.partition in PARTITIONS for job in queue.jobs) else Queue()


def _fits(request: Request, free: tuple[int, int, int]) -> bool:
    return all(
        wanted <= available
        for wanted, available in zip((request.cpus, request.memory_mb, request.gpus), free, strict=True)
    )


def _never_starts(job: Job) -> bool:
    return job.request.limit_s > PARTITIONS[job.request.partition].max_s
