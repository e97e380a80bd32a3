"""Runs the server in a Slurm job. The host is the cluster's login node, on which nothing stays."""

import secrets
from collections.abc import Iterator
from threading import Event
from typing import Annotated, Any

import msgspec

from notebooks_over_ssh.config.job import sbatch_options
from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import ConnectError, RemoteError, UserError
from notebooks_over_ssh.launchers.base import (
    Job,
    JobEndedError,
    JobState,
    Launched,
    NotStartedError,
    StartObserver,
)
from notebooks_over_ssh.launchers.client_key import client_key
from notebooks_over_ssh.launchers.slurm_errors import SlurmUnavailableError, to_error
from notebooks_over_ssh.launchers.slurm_state import StateReply, SubmittedJob, decode
from notebooks_over_ssh.ssh.confirmation import ConfirmationRequest
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.connections import CommandHop, connect_through
from notebooks_over_ssh.ssh.environment import configured_environment
from notebooks_over_ssh.ssh.protocol.command_channel import HopCommand
from notebooks_over_ssh.ssh.remote import BOOTSTRAP, build_input, parse_reply, run_program, script
from notebooks_over_ssh.util.command_hint import command

COMMAND_TIMEOUT_S = 60
CANCEL_TIMEOUT_S = 90  # longer than KillWait of slurm.conf(5), after which Slurm kills the job
# A start of a step: the controller may be busy.
HOP_TIMEOUT_S = 30
FIRST_INTERVAL_S, MAX_INTERVAL_S, BACKOFF = 1.0, 30.0, 1.5
START_MARGIN_S = 30
NO_SSHD = "there is no sshd"
"""What enter_job.sh prints on a node without the program."""


class AccessReply(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of job_access.py."""

    config: Annotated[str, msgspec.Meta(pattern=r"^/[^\x00-\x1f]{0,4095}\Z")]
    host_key: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9+/]{20,500}={0,2}\Z")]


class OutputReply(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of await_job.py."""

    marker: str
    output: str


class SlurmLauncher:
    """The server is a job of a cluster, reached by an SSH server that a step of the job runs for each connection."""

    def start(
        self, login: Connection, settings: Settings, parameters: dict[str, Any], observer: StartObserver
    ) -> Launched:
        """Submit the job unless there is one, wait until it runs, and for its server. Raises a UserError."""
        submitted = self._submit(login, settings, parameters, observer)
        job = submitted.to_job()
        observer.job_found(job, is_new=submitted.is_new)
        for reply in self._wait(login, job):
            if isinstance(reply, SlurmUnavailableError):
                observer.job_queued(JobState(job, "queued", str(reply)))
                continue
            state = reply.to_state(job)
            job = state.job or job
            if state.phase == "ended":
                return self._ended(login, reply, job)
            if state.obstacle:
                raise self._never_starts_error(login, state, cancel=submitted.is_new)
            (observer.job_queued if state.phase == "queued" else observer.job_started)(state)
        try:
            node = self.reach(login, job, settings)
            output = self._await_server(node, job, settings)
        except UserError:
            reply = self._query(login, job)
            if reply.to_state(job).phase != "ended":
                raise
            return self._ended(login, reply, job)
        server_reply = _server_reply(node, output)
        if not submitted.is_new and not server_reply["problem"]:
            server_reply = self._find_server(node, job, settings, parameters)
        return Launched(node, server_reply, job)

    def state(self, login: Connection, job: Job | None) -> JobState | None:
        """The state of the job. Raises RemoteError or ConnectError."""
        return self._query(login, job).to_state(job)

    def reach(self, login: Connection, job: Job | None, settings: Settings) -> Connection:
        """The connection to the job's node, by a step of the job. Raises JobEndedError, or another UserError."""
        if job is None:
            raise RemoteError("the job was not submitted", hint=f"{command('serve')} submits it")
        try:
            return self._enter(login, job, settings)
        except (ConnectError, RemoteError) as error:
            if not login.is_connected:
                raise
            state = self._query(login, job).to_state(job)
            if state.phase != "ended":
                raise
            raise JobEndedError(
                f"{state.label} {state.description}", hint=f"{command('serve')} submits another"
            ) from error

    def _enter(self, login: Connection, job: Job, settings: Settings) -> Connection:
        key = client_key()
        reply = _run(login, "job_access", {"token": job.token, "public_key": key.public})
        access = decode(reply, AccessReply)
        hop = CommandHop(
            name=job.node or f"job-{job.id}",
            host_key=access.host_key,
            key_file=key.file,
            command=HopCommand(BOOTSTRAP, script("enter_job.sh") + f"{job.id}\n{access.config}\n".encode()),
            timeout_s=HOP_TIMEOUT_S,
        )
        try:
            return connect_through(login, hop, settings)
        except ConnectError as error:
            if not any(NO_SSHD in line for line in error.detail):
                raise
            raise RemoteError(
                f"{hop.name} has no program sshd, which leads into the job",
                hint="ask the administrators for OpenSSH's server package on the nodes; "
                f"{command('stop --force')} cancels the job",
            ) from error

    def stop(self, login: Connection, job: Job | None) -> Job | None:
        """Cancel the job, and wait until Slurm has ended it. Raises RemoteError or ConnectError."""
        if job is None:
            job = self._query(login, None).to_state(None).job
            if job is None:
                return None
        parameters = {"id": job.id, "token": job.token, "timeout_s": CANCEL_TIMEOUT_S}
        reply = _run(login, "cancel_job", parameters, CANCEL_TIMEOUT_S + COMMAND_TIMEOUT_S)
        return job if reply.get("was_active") is True else None

    def _submit(
        self, login: Connection, settings: Settings, parameters: dict[str, Any], observer: StartObserver
    ) -> SubmittedJob:
        marker = secrets.token_hex(16)
        # A node of a job is not shared as a host is.
        request = build_input(
            marker, "serve_in_job", parameters | {"nice": 0}, configured_environment(settings.notebook)
        )
        submission = {
            "script": "#!/bin/sh\n" + script("bootstrap.sh").decode(),
            "request": request.decode(),
            "marker": marker,
            "options": sbatch_options(settings.notebook.job),
        }
        reply = run_program(
            login, "submit_job", submission, timeout_s=COMMAND_TIMEOUT_S, confirm=observer.before_start
        )
        if reply["problem"]:
            raise to_error(reply, login.label)
        submitted: SubmittedJob = decode(reply, SubmittedJob)
        return submitted

    def _wait(self, login: Connection, job: Job) -> Iterator[StateReply | SlurmUnavailableError]:
        """Yield the job's state until it runs or has ended; asks after a pause that grows.

        Yields the error while Slurm does not answer: a controller that is started again still knows the job.
        """
        interval_s = FIRST_INTERVAL_S
        while True:
            Event().wait(interval_s)
            interval_s = min(MAX_INTERVAL_S, interval_s * BACKOFF)
            try:
                reply = self._query(login, job)
            except SlurmUnavailableError as error:
                yield error
                continue
            yield reply
            if reply.to_state(job).phase != "queued":
                return

    def _query(self, login: Connection, job: Job | None) -> StateReply:
        parameters = {"id": job.id if job else None, "token": job.token if job else ""}
        reply: StateReply = decode(_run(login, "job_state", parameters), StateReply)
        return reply

    def _ended(self, login: Connection, reply: StateReply, job: Job) -> Launched:
        """The result of the start in a job that has ended; removes what is left of it. Raises NotStartedError."""
        self.stop(login, job)
        return Launched(login, _server_reply(login, reply), job)

    def _await_server(self, node: Connection, job: Job, settings: Settings) -> OutputReply:
        timeout_s = settings.notebook.start_timeout_s + START_MARGIN_S
        parameters = {"token": job.token, "timeout_s": timeout_s}
        reply: OutputReply = decode(
            _run(node, "await_job", parameters, timeout_s + START_MARGIN_S), OutputReply
        )
        if not has_reply(reply):
            raise RemoteError(
                f"the notebook server in job {job.id} did not answer within {timeout_s} s",
                hint=f"increase notebook.start_timeout_s; {command('stop')} ends the job",
            )
        return reply

    def _find_server(
        self, node: Connection, job: Job, settings: Settings, parameters: dict[str, Any]
    ) -> dict[str, Any]:
        """The reply of start_server.py to a server that the job has started before."""

        def refuse(request: ConfirmationRequest) -> None:
            raise RemoteError(
                f"the notebook server in job {job.id} has ended", hint=f"{command('stop')} ends the job"
            )

        return run_program(
            node,
            "start_server",
            parameters,
            environment=configured_environment(settings.notebook),
            timeout_s=settings.notebook.start_timeout_s + START_MARGIN_S,
            confirm=refuse,
        )

    def _never_starts_error(self, login: Connection, state: JobState, *, cancel: bool) -> RemoteError:
        if cancel:
            self.stop(login, state.job)
        return (NotStartedError if cancel else RemoteError)(
            f"{state.label} will not start: {state.description}" + ("; it was cancelled" if cancel else ""),
            hint=f"change {state.obstacle}" + ("" if cancel else f", and cancel the job: {command('stop')}"),
        )


def _run(
    connection: Connection, program: str, parameters: dict[str, Any], timeout_s: float = COMMAND_TIMEOUT_S
) -> dict[str, Any]:
    """The reply of a program. Raises RemoteError if it has a problem."""
    reply = run_program(connection, program, parameters, timeout_s=timeout_s)
    if reply["problem"]:
        raise to_error(reply, connection.label)
    return reply


def has_reply(output: OutputReply | StateReply) -> bool:
    """Whether the job has written the result of its server's start."""
    return bool(output.marker) and f"\n{output.marker} " in output.output


def _server_reply(connection: Connection, output: OutputReply | StateReply) -> dict[str, Any]:
    """The result of the start of a job's server. Raises RemoteError if the job has ended without one."""
    if isinstance(output, StateReply) and not has_reply(output):
        state = output.to_state(None)
        raise NotStartedError(
            f"{state.label} {state.description}",
            hint=f"{command('serve')} submits another",
            detail=state.detail,
            source=state.label,
        )
    return parse_reply(connection, output.marker, output.output)
