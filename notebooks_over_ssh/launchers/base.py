"""The interface of a launcher, and what a session remembers of a job."""

from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import RemoteError, TaskError
from notebooks_over_ssh.ssh.confirmation import ConfirmationRequest
from notebooks_over_ssh.ssh.connection import Connection

LauncherName = Literal["host", "slurm"]
NodeAccess = Literal["ssh", "sshd", "srun"]
"""A way to the node of a job: node_access.py describes each."""


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
    """The way to the node that worked when the session was recorded; "" before."""


class JobState(NamedTuple):
    """The state of a job, as the scheduler reports it."""

    job: Job | None
    """None if the scheduler does not know the job, or no longer."""
    phase: Literal["queued", "running", "ended"]
    description: str
    """The state, and the reason for it, in words."""
    starts_at: float | None = None
    """When the scheduler expects to start a queued job: seconds since 1970, None if it does not know."""
    seconds_left: int | None = None
    """The rest of its time limit."""
    obstacle: str = ""
    """The setting to change, if a queued job will never start as it is."""
    detail: tuple[str, ...] = ()
    """The last lines that the job has written."""

    @property
    def label(self) -> str:
        """The job's name for messages."""
        return f"job {self.job.id}" if self.job else "the job"


class NotStartedError(RemoteError):
    """The start failed, and nothing of it is left."""


class JobEndedError(TaskError):
    """The job has ended, so there is nothing to reconnect to."""


class Launched(NamedTuple):
    """The machine on which the server runs, the unvalidated reply of start_server.py, and the job, if there is one."""

    connection: Connection
    reply: dict[str, Any]
    host_key: str
    """The key (base64) that identifies the machine or the job, however it is reached."""
    job: Job | None = None


class StartObserver(Protocol):
    """Is told how a start goes on."""

    def before_start(self, request: ConfirmationRequest) -> None:
        """The host is about to start something. What it reports has not been validated."""

    def job_found(self, job: Job, *, is_new: bool) -> None:
        """The job was submitted, or an earlier one was found."""

    def job_queued(self, state: JobState) -> None:
        """The job is still waiting; called again after each look at it."""

    def job_started(self, state: JobState) -> None:
        """The job runs."""


class Launcher(Protocol):
    """A way to run the server.

    `login` is the connection to the host that the user named. The server's machine may be another one. `job` is the
    one on record; None where there is none, or where its submission was interrupted.
    """

    def start(
        self, login: Connection, settings: Settings, parameters: dict[str, Any], observer: StartObserver
    ) -> Launched:
        """Start the server unless it is running, and wait for the reply of start_server.py to `parameters`.

        Raises a UserError.
        """

    def state(self, login: Connection, job: Job | None) -> JobState | None:
        """The state of the job; None if no job is needed, so that only the server has a state. Raises a UserError."""

    def reach(self, login: Connection, job: Job | None, settings: Settings) -> Connection:
        """The connection to the machine on which the server runs. Raises JobEndedError, or another UserError."""

    def examine(self, login: Connection, job: Job | None, settings: Settings) -> tuple[Connection, str]:
        """As `reach`; also says by which ways the machine can be reached, and why not by others."""

    def stop(self, login: Connection, job: Job | None) -> Job | None:
        """End the job once its server has been stopped, and check that it is gone.

        Returns the job, None if there was none to end. Raises a UserError.
        """
