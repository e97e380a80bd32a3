"""The interface of a launcher, and what a session remembers of a job."""

from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.prompting import CredentialPrompter

LauncherName = Literal["host"]


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A job of a scheduler, as the session's record has it."""

    id: int
    cluster: str
    """The name of the cluster; "" if the scheduler did not report one."""
    token: str
    """What distinguishes the job from others with the same number, and names its folder on the host."""
    submitted: str
    """When it was submitted: UTC, in the format of ISO 8601."""


class Launched(NamedTuple):
    """The machine on which the server runs, the unvalidated reply of start_server.py, and the job, if there is one."""

    connection: Connection
    reply: dict[str, Any]
    job: Job | None = None


class StartObserver(Protocol):
    """Is told how a start goes on, before each step that must be on record."""

    def before_start(self, host: str) -> None:
        """Something is about to be started by `host`: the name that it reports, not validated."""


class Launcher(Protocol):
    """A way to run the server.

    `login` is the connection to the host that the user named. The server's machine may be another one.
    """

    def start(
        self,
        login: Connection,
        settings: Settings,
        parameters: dict[str, Any],
        observer: StartObserver,
        credentials: CredentialPrompter,
    ) -> Launched:
        """Start the server unless it is running, and wait for the reply of start_server.py to `parameters`.

        Raises a UserError.
        """

    def reach(
        self, login: Connection, job: Job | None, settings: Settings, credentials: CredentialPrompter
    ) -> Connection:
        """The connection to the machine on which the server runs. Raises a UserError."""
