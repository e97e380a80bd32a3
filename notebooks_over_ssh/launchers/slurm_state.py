"""What squeue says of a job, validated and in words."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.launchers.base import Job, JobState
from notebooks_over_ssh.util.peer_text import clean

MAX_REASON_COLUMNS = 120
MAX_LOG_LINES, MAX_LINE_LENGTH = 20, 300
# squeue(1), JOB REASON CODES.
REASONS = {
    "None": "Slurm has not considered it yet",
    "Priority": "other jobs are ahead of it",
    "Resources": "it waits for free resources",
    "Dependency": "it waits for another job",
    "BeginTime": "its --begin time has not come",
    "Licenses": "it waits for a licence",
    "Reservation": "it waits for its reservation",
    "ReqNodeNotAvail": "a node that it needs is not available",
    "QOSMaxJobsPerUserLimit": "you have as many running jobs as its QOS allows",
    "QOSMaxSubmitJobPerUserLimit": "you have as many jobs as its QOS allows",
    "QOSMaxCpuPerUserLimit": "you use as many CPUs as its QOS allows",
    "QOSMaxGRESPerUser": "you use as many GPUs as its QOS allows",
    "AssocMaxJobsLimit": "your account has as many running jobs as it may",
    "AssocGrpCpuLimit": "your account uses as many CPUs as it may",
    "AssocGrpGRES": "your account uses as many GPUs as it may",
    "JobHeldUser": "it is held: scontrol release lets it start",
    "JobHeldAdmin": "an administrator holds it",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition starts no jobs",
    "NodeDown": "a node that it needs is down",
}
# Reasons that pass only when somebody changes the job or the cluster, and what to do about them.
NEVER_STARTS = {
    "PartitionTimeLimit": ("its time limit is longer than its partition allows", "notebook.job.time"),
    "PartitionNodeLimit": ("its partition does not allow it", "notebook.job.partition"),
    "QOSMaxWallDurationPerJobLimit": ("its time limit is longer than its QOS allows", "notebook.job.time"),
    "AssocMaxWallDurationPerJobLimit": (
        "its time limit is longer than its account allows",
        "notebook.job.time",
    ),
    "QOSMaxCpuPerJobLimit": ("it needs more CPUs than its QOS allows", "notebook.job.cpus"),
    "QOSMaxMemoryPerJob": ("it needs more memory than its QOS allows", "notebook.job.memory"),
    "BadConstraints": ("no node meets its constraints", "notebook.job.constraint"),
    "InvalidAccount": ("its account is not valid", "notebook.job.account"),
    "InvalidQOS": ("its QOS is not valid", "notebook.job.qos"),
    # Slurm 22.05 has a sentence for these two: `Job's account not permitted to use this partition (a allows b not c)`.
    "AccountNotAllowed": ("its partition is for other accounts", "notebook.job.account or partition"),
    "QOSNotAllowed": ("its partition is for other QOSs", "notebook.job.qos or partition"),
}
SENTENCES = {
    "Job's account not permitted": "AccountNotAllowed",
    "Job's QOS not permitted": "QOSNotAllowed",
}
# squeue(1), JOB STATE CODES.
ENDINGS = {
    "TIMEOUT": "reached its time limit",
    "CANCELLED": "was cancelled",
    "OUT_OF_MEMORY": "used more memory than it had",
    "NODE_FAIL": "was lost with its node",
    "PREEMPTED": "was ended for a job with a higher priority",
    "FAILED": "failed",
    "COMPLETED": "has ended",
    "COMPLETING": "is ending",
    "BOOT_FAIL": "got no node that starts",
    "DEADLINE": "did not end before its deadline",
    "REVOKED": "moved to another cluster",
}
# The endings that are neither the user's doing nor that of the server: another job may take its place.
RENEWABLE = frozenset({"TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL"})
ENDING = "COMPLETING"
# squeue(1), JOB REASON CODES: the files of the job are not on the node, or its program cannot be run there.
LAUNCH_FAILURE = "JobLaunchFailure"
SIGNALLED = "was ended by a signal of Slurm, at its time limit or for another job"
RUNNING = frozenset({"RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING", "STAGE_OUT"})

Token = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
JobId = Annotated[int, Meta(ge=1, le=4294967295)]
Time = Annotated[str, Meta(pattern=r"^(?:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)?\Z")]
Option = Annotated[str, Meta(pattern=r"^--[\x21-\x7e]{1,400}\Z")]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{0,253}\Z")]


class SubmittedJob(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of submit_job.py."""

    is_new: bool
    id: JobId
    token: Token
    cluster: Name
    submitted: Time
    options: Annotated[list[Option], Meta(max_length=64)] | None

    def to_job(self) -> Job:
        """The job for the session's record."""
        return Job(
            id=self.id,
            cluster=self.cluster,
            token=self.token,
            submitted=self.submitted,
            options=self.options,
        )


class QueueEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A job as squeue lists it."""

    id: JobId
    token: Token
    state: Annotated[str, Meta(pattern=r"^[A-Z_]{1,32}\Z")]
    reason: Annotated[str, Meta(max_length=300)]
    start: Annotated[int, Meta(ge=0, le=10**12)] | None
    seconds_left: Annotated[int, Meta(ge=0, le=10**10)] | None
    node: Name
    is_active: bool
    ahead: Annotated[int, Meta(ge=0, le=10**7)] | None = None
    """How many queued jobs of its partitions come before it."""


class StateReply(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of job_state.py."""

    job: QueueEntry | None
    age_s: Annotated[int, Meta(ge=0, le=3600)] = 0
    """How long ago Slurm reported the job."""
    cluster: Name
    submitted: Time
    marker: str
    output: str
    log: tuple[str, ...]
    is_signalled: bool = False
    """Whether Slurm has sent the job a signal, at which it ends its server, and so itself."""

    @property
    def is_launch_failure(self) -> bool:
        """Whether the node could not start the job."""
        return self.job is not None and self.job.reason == LAUNCH_FAILURE

    @property
    def is_ending(self) -> bool:
        """Whether the job is ending, so that Slurm does not say yet how it ended."""
        return self.job is not None and self.job.state == ENDING

    def to_state(self, record: Job | None) -> JobState:
        """The state of the job; `record` is the one in the session's record."""
        detail = tuple(line[:MAX_LINE_LENGTH] for line in self.log[-MAX_LOG_LINES:])
        entry = self.job
        if entry is None:
            description = "is not known to Slurm any more" if record else "was not submitted"
            return JobState(record, "ended", description, detail=detail, age_s=self.age_s)
        job = Job(
            id=entry.id,
            cluster=self.cluster,
            token=entry.token,
            submitted=self.submitted,
            node=entry.node,
            options=record.options if record else None,
        )
        phase: Literal["queued", "running", "ended"] = (
            "ended" if not entry.is_active else "running" if entry.state in RUNNING else "queued"
        )
        if phase == "running" and not entry.node:
            phase = "queued"
        is_renewable = entry.state in RENEWABLE
        ending = ENDINGS.get(entry.state, f"ended as {entry.state}")
        if entry.state == "COMPLETED" and self.is_signalled:
            is_renewable, ending = True, SIGNALLED
        if entry.state == "FAILED" and self.is_launch_failure:
            ending = "could not be started on its node"
        description, setting_to_change = describe_reason(entry.reason)
        description = {
            "queued": description,
            "running": "is running" if entry.state == "RUNNING" else f"is {entry.state.lower()}",
            "ended": ending,
        }[phase]
        return JobState(
            job,
            phase,
            description,
            entry.start,
            # A site may hide other users' jobs: then none seems to be ahead.
            entry.ahead if phase == "queued" and (entry.ahead or entry.reason != "Priority") else None,
            entry.seconds_left,
            setting_to_change if phase == "queued" else "",
            detail,
            is_renewable=phase == "ended" and is_renewable,
            age_s=self.age_s,
        )


def describe_reason(reason: str) -> tuple[str, str]:
    """The reason for which a job waits, in words; and the setting to change if it will never start, else ""."""
    # Some have more after a comma: ReqNodeNotAvail, UnavailableNodes:n1.
    code = reason.partition(",")[0].strip()
    code = next((SENTENCES[start] for start in SENTENCES if code.startswith(start)), code)
    if code in NEVER_STARTS:
        words, setting = NEVER_STARTS[code]
        return f"{words} ({code})", setting
    words = REASONS.get(code, "Slurm's reason")
    return f"{words} ({clean(reason, MAX_REASON_COLUMNS)})", ""


def decode(reply: dict[str, Any], kind: type[msgspec.Struct]) -> Any:
    """The reply as a struct. Raises RemoteError if a field is missing or not valid."""
    try:
        return msgspec.convert(reply, kind)
    except msgspec.ValidationError as error:
        raise RemoteError(
            f"the host sent an invalid reply about the job: {error}",
            hint="try again; if it fails again, compare with squeue on the host",
        ) from error
