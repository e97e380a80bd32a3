"""Reaches the node of a Slurm job, by the first of three methods that works.

- `ssh`: the node's own SSH server, to which the login node forwards, with the user's own login. Only a host key is
  accepted that the job has found on its node.
- `sshd`: an SSH server of the user's own, which a step of the job (`srun --overlap`) runs for one connection, with keys
  that were made for the job. The site need not allow SSH to its nodes.
- `srun`: each program runs in a step of the job, and one of them relays connections. The node needs no sshd.

Whichever it is, nothing listens on the network for it.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from threading import Event
from typing import Annotated, NamedTuple, Protocol

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import ConnectError, RemoteError, UserError
from notebooks_over_ssh.launchers.base import Job, JobEndedError, NodeAccess
from notebooks_over_ssh.launchers.client_key import client_key
from notebooks_over_ssh.launchers.slurm_errors import SlurmUnavailableError, to_error
from notebooks_over_ssh.launchers.slurm_state import decode
from notebooks_over_ssh.ssh.bootstrap import BOOTSTRAP
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.connections import (
    CommandHop,
    ProgramHop,
    connect_by_program,
    connect_next,
    connect_through,
)
from notebooks_over_ssh.ssh.program_input import script
from notebooks_over_ssh.ssh.protocol.command_channel import HopCommand
from notebooks_over_ssh.ssh.remote import run_program
from notebooks_over_ssh.util.command_hint import command
from notebooks_over_ssh.util.peer_text import quote

_log = logging.getLogger(__name__)
METHODS: dict[NodeAccess, str] = {
    "ssh": "its own SSH server",
    "sshd": "an sshd in a step of the job",
    "srun": "programs in steps of the job",
}
"""The methods, best first, each with what leads to the node."""
COMMAND_TIMEOUT_S = 60
# A start of a step: the controller may be busy, or may not know the nodes again since its restart.
STEP_TIMEOUT_S = 30
STEP_PAUSE_S = 2
NODE_KEYS_TIMEOUT_S = 5
# A command has often just asked for the job.
RECENT_S = 5.0
NO_SSHD = "there is no sshd"
"""What enter_job.sh prints on a node without the program."""
NO_STEP = "Unable to create step"
"""What srun prints if the controller gives it no step in time."""
NO_FORWARDING = "srun runs programs only"


class HostKeyLine(NamedTuple):
    """A host key, as in known_hosts."""

    kind: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9@.-]{1,64}\Z")]
    key: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9+/]{20,8000}={0,2}\Z")]


class AccessReply(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of job_access.py."""

    config: Annotated[str, msgspec.Meta(pattern=r"^/[^\x00-\x1f]{0,4095}\Z")]
    host_key: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9+/]{20,500}={0,2}\Z")]
    node_keys: Annotated[tuple[HostKeyLine, ...], msgspec.Meta(max_length=16)]


class NodeConnection(NamedTuple):
    """The open connection to the node of a job, and the job with the method that led there."""

    connection: Connection
    job: Job
    host_key: str
    """The job's own key (base64), whichever the method is."""


class NoStepError(RemoteError):
    """Slurm starts no step in the job now, so neither method through one works."""


class CurrentJob(Protocol):
    """Asks Slurm for the job, unless it ran up to `max_age_s` ago, and returns it with its node.

    Raises JobEndedError, or another UserError.
    """

    def __call__(self, login: Connection, job: Job, max_age_s: float = 0.0) -> Job: ...


class NodeConnector:
    """Connects to the nodes of jobs, and remembers while the process runs which method worked on which cluster."""

    def __init__(self, current_job: CurrentJob) -> None:
        self._current_job = current_job
        self._last_method: dict[str, NodeAccess] = {}

    def connect(self, login: Connection, job: Job, settings: Settings) -> NodeConnection:
        """Connect by the method in the settings; by `auto`, by the first that works.

        The method that worked last comes first. Raises JobEndedError, or another UserError.
        """
        setting = settings.notebook.node_access
        last_method = self._last_method.get(login.label) or job.access
        methods = (
            sorted(METHODS, key=lambda method: method != last_method) if setting == "auto" else [setting]
        )
        with self._job_checked(login, job):
            access = _grant_access(login, job, methods)
        errors: dict[NodeAccess, UserError] = {}
        no_step: NoStepError | None = None
        for method in methods:
            if method != "ssh" and no_step:
                continue
            try:
                job, connection = self._try(method, login, job, access, settings)
            except JobEndedError:
                raise
            except UserError as error:
                if not login.is_connected:
                    raise
                _log.debug("job %d: its node is not reached by %s: %s", job.id, method, error)
                errors[method] = error
                no_step = error if isinstance(error, NoStepError) else no_step
                continue
            _log.debug("job %d: its node is reached by %s", job.id, method)
            self._last_method[login.label] = method
            return NodeConnection(connection, msgspec.structs.replace(job, access=method), access.host_key)
        if no_step:
            raise no_step
        if setting != "auto":
            raise errors[setting]
        raise ConnectError(
            f"{_node_name(job)} cannot be reached in any way",
            hint=f"{command('doctor')} checks each; {command('stop --force')} cancels the job",
            detail=tuple(f"{method}: {_reason(error)}" for method, error in errors.items()),
        )

    def examine(self, login: Connection, job: Job, settings: Settings) -> tuple[Connection, str]:
        """Connect as `connect` does; also returns whether each method works, or why it does not.

        Raises a UserError; if the method in the settings fails, its details say whether the others work.
        """
        setting = settings.notebook.node_access
        try:
            used = self.connect(login, job, settings)
        except JobEndedError:
            raise
        except UserError as error:
            if setting != "auto" and login.is_connected:
                error.detail += tuple(self._examine_others(setting, login, job, settings))
            raise
        method = used.job.access
        assert method
        text = f"{used.connection.label} is reached by {METHODS[method]} ({method})"
        return used.connection, "; ".join([text, *self._examine_others(method, login, used.job, settings)])

    def _examine_others(
        self, used: NodeAccess, login: Connection, job: Job, settings: Settings
    ) -> Iterator[str]:
        methods = [method for method in METHODS if method != used]
        access = _grant_access(login, job, methods)
        for method in methods:
            started_at = time.monotonic()
            try:
                self._try(method, login, job, access, settings)
            except UserError as error:
                if not login.is_connected:
                    raise
                yield f"not by {method}: {_reason(error)}"
            else:
                yield f"{method} works, in {time.monotonic() - started_at:.1f} s"

    def _try(
        self, method: NodeAccess, login: Connection, job: Job, access: AccessReply, settings: Settings
    ) -> tuple[Job, Connection]:
        """Connect by this method. Raises JobEndedError if the job has ended, or another UserError."""
        if method == "ssh":
            # Only Slurm knows whether the job has ended: a site may allow SSH to any node.
            try:
                job = self._current_job(login, job, RECENT_S)
            except SlurmUnavailableError:
                if not job.node:
                    raise
            may_prompt = settings.notebook.node_access == "ssh"
            return job, connect_next(login, job.node, access.node_keys, settings, may_prompt=may_prompt)
        connect = _enter_step if method == "sshd" else _run_in_steps
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while True:
            try:
                with self._job_checked(login, job), _no_step_named(job):
                    return job, connect(login, job, access, settings)
            except NoStepError as error:
                if time.monotonic() > deadline:
                    raise
                _log.debug("job %d: %s", job.id, error)
            Event().wait(STEP_PAUSE_S)

    @contextlib.contextmanager
    def _job_checked(self, login: Connection, job: Job) -> Iterator[None]:
        """Raise JobEndedError in place of a UserError of the body if the job has ended."""
        try:
            yield
        except UserError:
            if login.is_connected:
                self._current_job(login, job)
            raise


@contextlib.contextmanager
def _no_step_named(job: Job) -> Iterator[None]:
    """Raise NoStepError in place of a UserError of the body if srun could not create a step."""
    try:
        yield
    except UserError as error:
        reason = next((line for line in error.detail if NO_STEP in line), "")
        if not reason:
            raise
        raise NoStepError(
            f"Slurm starts no step in job {job.id}, which would lead to its node: {quote(reason)}",
            hint=f"try again in a minute: its controller may have been restarted; {command('stop --force')} "
            "cancels the job",
        ) from error


def _grant_access(login: Connection, job: Job, methods: list[NodeAccess]) -> AccessReply:
    """Let this machine's key into the job, and read the keys of the job and of its node. Raises a UserError."""
    parameters = {
        "token": job.token,
        "public_key": client_key().public,
        "node_keys_timeout_s": NODE_KEYS_TIMEOUT_S if "ssh" in methods else 0,
    }
    reply = run_program(login, "job_access", parameters, timeout_s=COMMAND_TIMEOUT_S)
    if reply["problem"]:
        raise to_error(reply, login.label)
    access: AccessReply = decode(reply, AccessReply)
    return access


def _enter_step(login: Connection, job: Job, access: AccessReply, settings: Settings) -> Connection:
    hop = CommandHop(
        name=_node_name(job),
        host_key=access.host_key,
        key_file=client_key().file,
        command=HopCommand(BOOTSTRAP, script("enter_job.sh") + f"{job.id}\n{access.config}\n".encode()),
        timeout_s=STEP_TIMEOUT_S,
    )
    try:
        return connect_through(login, hop, settings)
    except ConnectError as error:
        if not any(NO_SSHD in line for line in error.detail):
            raise
        raise RemoteError(
            f"{hop.name} has no program sshd, which leads into the job",
            hint="set notebook.node_access to auto or srun, or ask the administrators for OpenSSH's server package "
            f"on the nodes; {command('stop --force')} cancels the job",
        ) from error


def _run_in_steps(login: Connection, job: Job, access: AccessReply, settings: Settings) -> Connection:
    input_prefix = script("run_in_job.sh") + f"{job.id}\n{BOOTSTRAP}\n".encode()
    hop = ProgramHop(_node_name(job), input_prefix, NO_FORWARDING)

    def check(connection: Connection) -> None:
        try:
            run_program(connection, "server_status", {}, timeout_s=STEP_TIMEOUT_S)
        except RemoteError as error:
            raise ConnectError(
                f"no program runs on {hop.name} by srun",
                hint=f"try again: what leads there from {login.label} may be busy",
                detail=error.detail,
                source=error.source,
            ) from error

    return connect_by_program(login, hop, check, settings)


def _node_name(job: Job) -> str:
    return job.node or f"job-{job.id}"


def _reason(error: UserError) -> str:
    """The error in one line, with what a program of the cluster wrote last."""
    return f"{error}: {quote(error.detail[-1])}" if error.detail else str(error)
