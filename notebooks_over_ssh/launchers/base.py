"""The interface of a launcher, and what a session remembers of a job."""

from collections.abc import Callable, Generator
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import msgspec
from msgspec import Meta

from notebooks_over_ssh.config.schema import Job as JobSettings
from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import RemoteError, TaskError
from notebooks_over_ssh.ssh.confirmation import ConfirmationRequest
from notebooks_over_ssh.ssh.connection import Connection

LauncherName = Literal["host", "slurm"]
NodeAccess = Literal["ssh", "sshd", "srun"]
"""A method to reach the node of a job: node_access.py describes each."""
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}\Z")]
Count = Annotated[int, Meta(ge=0, le=10**12)]


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A job of a scheduler, as the session's record has it."""

    id: int
    cluster: str
    """The name of the cluster; "" if the scheduler did not report one."""
    token: str
    """What distinguishes the job from others with the same number, and names its folder on the host."""
    submitted: str
    """When it was submitted: UTC, in the format of ISO 8601."""
    node: str = ""
    """The node on which it runs; "" until it does."""
    access: NodeAccess | Literal[""] = ""
    """The method to reach the node that worked when the session was recorded; "" before."""
    options: list[str] | None = None
    """The options that it was submitted with, in the scheduler's terms; None if they are not known."""


class JobState(NamedTuple):
    """The state of a job, as the scheduler reports it."""

    job: Job | None
    """None if the scheduler does not know the job, or no longer."""
    phase: Literal["queued", "running", "ended"]
    description: str
    """The state, and the reason for it, in words."""
    starts_at: float | None = None
    """When the scheduler expects to start a queued job: seconds since 1970, None if it does not know."""
    jobs_ahead: int | None = None
    """How many queued jobs may start before a queued one; None if that is not known."""
    seconds_left: int | None = None
    """The rest of its time limit."""
    setting_to_change: str = ""
    """The setting to change, if a queued job will never start as it is."""
    detail: tuple[str, ...] = ()
    """The last lines that the job has written."""
    is_renewable: bool = False
    """Whether the cluster ended the job, so that another one may take its place."""
    age_s: int = 0
    """How long ago the scheduler reported it."""

    @property
    def label(self) -> str:
        """The job's name for messages."""
        return f"job {self.job.id}" if self.job else "the job"


class Gpus(msgspec.Struct, frozen=True, kw_only=True):
    """The GPUs of one type in a partition."""

    total: Count
    free: Count


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a cluster that jobs may ask for, and what is free in it now. A node may be in several of them."""

    name: Name
    is_default: bool
    unavailable_reason: str
    """Why the user's jobs do not run in it; "" if they do, as far as the scheduler says."""
    time_limit_s: Count | None
    """The longest time that a job may ask for; None without a limit."""
    default_time_s: Count | None
    """The time limit of a job that asks for none; None if that is the longest."""
    nodes: Count
    free_nodes: Count
    """Those on which nothing runs."""
    cpus: Count
    free_cpus: Count
    gpus: Annotated[dict[Name, Gpus], Meta(max_length=100)]
    """By type; those without one are of the type `gpu`."""
    waiting_jobs: Count | None
    """None if the scheduler does not tell."""


class Cluster(NamedTuple):
    """What a scheduler offers."""

    description: str
    """The scheduler with its version, and the name of the cluster."""
    accounts: tuple[str, ...] | None
    """The accounts that the user's jobs may be charged to; None if the scheduler keeps none."""
    partitions: tuple[Partition, ...]


class NotStartedError(RemoteError):
    """The start failed, and nothing of it is left."""


class NeverStartsError(RemoteError):
    """The job stays queued until somebody changes it or the cluster."""


class JobEndedError(TaskError):
    """The job has ended, or is queued again, so there is no server to connect to."""

    def __init__(self, state: JobState, *, hint: str) -> None:
        verb = "is queued: " if state.phase == "queued" else ""
        super().__init__(f"{state.label} {verb}{state.description}", hint=hint)
        self.state = state


class Launched(NamedTuple):
    """The machine on which the server runs, the unvalidated reply of start_server.py, and the job, if there is one."""

    connection: Connection
    reply: dict[str, Any]
    host_key: str
    """The key (base64) that identifies the machine or the job, however it is reached."""
    job: Job | None = None


class JobFound(NamedTuple):
    """The job was submitted, or an earlier one was found."""

    job: Job
    is_new: bool


class JobQueued(NamedTuple):
    """The job is still waiting. There is one after each query."""

    state: JobState


class JobStarted(NamedTuple):
    """The job runs."""

    state: JobState


StartEvent = JobFound | JobQueued | JobStarted
Confirm = Callable[[ConfirmationRequest], None]
"""Is called when the host is about to start something; may raise. What the host reports has not been validated."""


class Launcher(Protocol):
    """A way to run the server.

    `login` is the connection to the host that the user named. The server's machine may be another one. `job` is the
    one on record; None where there is none, or where its submission was interrupted.
    """

    is_local: bool
    """Whether the server's machine is that host itself."""

    def start(
        self, login: Connection, settings: Settings, parameters: dict[str, Any], confirm: Confirm
    ) -> Generator[StartEvent, None, Launched]:
        """Start the server unless it is running, and wait for the reply of start_server.py to `parameters`.

        Yields what happens meanwhile. Raises a UserError.
        """

    def state(self, login: Connection, job: Job | None, max_age_s: int = 0) -> JobState | None:
        """The state of the job; None if no job is needed, so that only the server has a state. Raises a UserError.

        That of a job which is not queued may be `max_age_s` old: schedulers ask not to be asked in a loop.
        """

    def reach(self, login: Connection, job: Job | None, settings: Settings) -> Connection:
        """The connection to the machine on which the server runs. Raises JobEndedError, or another UserError."""

    def examine(self, login: Connection, job: Job | None, settings: Settings) -> tuple[Connection, str]:
        """As `reach`; also says by which ways the machine can be reached, and why not by others."""

    def stop(self, login: Connection, job: Job | None) -> Job | None:
        """End the job once its server has been stopped, and check that it is gone.

        Returns the job, None if there was none to end. Raises a UserError.
        """


class Scheduler(Launcher, Protocol):
    """A launcher whose server is a job of a cluster."""

    def cluster(self, login: Connection) -> Cluster:
        """What the cluster offers. Raises RemoteError or ConnectError."""

    def estimate_start(self, login: Connection, settings: JobSettings) -> str:
        """When and where the scheduler would start a job with these settings; submits none.

        Raises RemoteError, also if it would refuse the job, or ConnectError.
        """
