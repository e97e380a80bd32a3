"""Runs the server in a Slurm job. The host is the cluster's login node, on which nothing stays."""

import math
import secrets
import time
from collections.abc import Generator, Iterator
from threading import Event
from typing import Any

from notebooks_over_ssh.config.job import sbatch_options
from notebooks_over_ssh.config.schema import Job as JobSettings
from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import RemoteError, UserError
from notebooks_over_ssh.launchers.base import (
    Cluster,
    Confirm,
    Job,
    JobEndedError,
    JobFound,
    JobQueued,
    JobStarted,
    JobState,
    Launched,
    NeverStartsError,
    NotStartedError,
    StartEvent,
)
from notebooks_over_ssh.launchers.node_access import NodeConnector
from notebooks_over_ssh.launchers.slurm_errors import SlurmUnavailableError, to_error
from notebooks_over_ssh.launchers.slurm_output import OutputReply, has_reply, server_reply
from notebooks_over_ssh.launchers.slurm_partitions import ClusterReply, StartEstimate
from notebooks_over_ssh.launchers.slurm_state import StateReply, SubmittedJob, decode
from notebooks_over_ssh.ssh.confirmation import ConfirmationRequest
from notebooks_over_ssh.ssh.connection import Connection, host_key
from notebooks_over_ssh.ssh.environment import configured_environment
from notebooks_over_ssh.ssh.program_input import build_input, script
from notebooks_over_ssh.ssh.remote import run_program
from notebooks_over_ssh.util.command_hint import command

COMMAND_TIMEOUT_S = 60
CANCEL_TIMEOUT_S = 90  # longer than KillWait of slurm.conf(5), after which Slurm kills the job
FIRST_INTERVAL_S, MAX_INTERVAL_S, BACKOFF = 1.0, 39.0, 1.5
MAX_QUERY_AGE_S = 35
"""For how long the status of a queued job is valid, for each request that it took: Slurm's controller should get at
most one every 30 s from a user, on average.
"""
START_MARGIN_S = 30
NEVER_SEEN = ("", -math.inf)
# Longer than Jupyter takes to end its kernels. Slurm may be half a minute early.
END_MARGIN_S = 60


class SlurmLauncher:
    """The server is a job of a cluster; node_access.py reaches its node."""

    is_local = False

    def __init__(self) -> None:
        self._connector = NodeConnector(self._current_job)
        self._seen_running = NEVER_SEEN
        """The token of the job that Slurm last reported as running, and when, by time.monotonic()."""

    def start(
        self, login: Connection, settings: Settings, parameters: dict[str, Any], confirm: Confirm
    ) -> Generator[StartEvent, None, Launched]:
        """Submit the job unless there is one, wait until it runs, and for its server. Raises a UserError."""
        submitted = self._submit(login, settings, parameters, confirm)
        job = submitted.to_job()
        yield JobFound(job, is_new=submitted.is_new)
        for reply in self._wait(login, job):
            if isinstance(reply, SlurmUnavailableError):
                yield JobQueued(JobState(job, "queued", str(reply)))
                continue
            state = reply.to_state(job)
            job = state.job or job
            if state.phase == "ended":
                return self._ended(login, reply, job)
            if state.setting_to_change:
                raise self._never_starts_error(login, state, cancel=submitted.is_new)
            yield JobQueued(state) if state.phase == "queued" else JobStarted(state)
        try:
            node_connection = self._connector.connect(login, job, settings)
            node, job = node_connection.connection, node_connection.job
            output = self._await_server(node, job, settings)
        except UserError:
            reply = self._query(login, job)
            if reply.to_state(job).phase != "ended":
                raise
            return self._ended(login, reply, job)
        started = server_reply(node, output)
        if not submitted.is_new and not started["problem"]:
            started = self._find_server(node, job, settings, parameters)
        return Launched(node, started, node_connection.host_key, job)

    def state(self, login: Connection, job: Job | None, max_age_s: int = 0) -> JobState | None:
        """The state of the job. Raises RemoteError or ConnectError."""
        reply = self._query(login, job, max_age_s=MAX_QUERY_AGE_S, max_running_age_s=max_age_s)
        return reply.to_state(job)

    def reach(self, login: Connection, job: Job | None, settings: Settings) -> Connection:
        """The connection to the job's node. Raises JobEndedError, or another UserError."""
        return self._connector.connect(login, _require(job), settings).connection

    def examine(self, login: Connection, job: Job | None, settings: Settings) -> tuple[Connection, str]:
        """As `reach`; also says for each method to reach the node whether it works. Raises a UserError.

        That is RemoteError if the node has another home folder than the login node.
        """
        job = _require(job)
        node, ways = self._connector.examine(login, job, settings)
        if not self._read_output(node, job, 0).has_record:
            raise RemoteError(
                f"the home folder on {node.label} is not that on {login.label}",
                hint="ask the administrators of the cluster for a home folder that the nodes share with the login node",
                detail=(ways,),
            )
        return node, f"{ways}; the home folder is the same"

    def _current_job(self, login: Connection, job: Job, max_age_s: float = 0.0) -> Job:
        """The job with its node, as it was up to `max_age_s` ago. Raises JobEndedError, RemoteError or ConnectError."""
        token, seen_at = self._seen_running
        if token == job.token and job.node and time.monotonic() - seen_at < max_age_s:
            return job
        state = self._final_state(login, job)
        if state.phase != "running":
            verb = "waits for it" if state.phase == "queued" else "submits another"
            raise JobEndedError(state, hint=f"{command('serve')} {verb}")
        return state.job or job

    def _final_state(self, login: Connection, job: Job) -> JobState:
        """The state of the job, once Slurm has ended it if it is ending: only then is it known how it ended."""
        deadline = time.monotonic() + CANCEL_TIMEOUT_S
        interval_s = FIRST_INTERVAL_S
        reply = self._query(login, job)
        while reply.is_ending and time.monotonic() < deadline:
            Event().wait(interval_s)
            interval_s *= BACKOFF
            reply = self._query(login, job)
        return reply.to_state(job)

    def stop(self, login: Connection, job: Job | None) -> Job | None:
        """Cancel the job, and wait until Slurm has ended it. Raises RemoteError or ConnectError."""
        if job is None:
            job = self._query(login, None).to_state(None).job
            if job is None:
                return None
        parameters = {"id": job.id, "token": job.token, "timeout_s": CANCEL_TIMEOUT_S}
        reply = _run(login, "cancel_job", parameters, CANCEL_TIMEOUT_S + COMMAND_TIMEOUT_S)
        return job if reply.get("was_active") is True else None

    def cluster(self, login: Connection) -> Cluster:
        """The partitions of the cluster. Raises RemoteError or ConnectError."""
        reply: ClusterReply = decode(_run(login, "list_partitions", {}), ClusterReply)
        return reply.to_cluster()

    def estimate_start(self, login: Connection, settings: JobSettings) -> str:
        """When and where Slurm would start such a job. Raises RemoteError or ConnectError."""
        reply = _run(login, "estimate_start", {"options": sbatch_options(settings)})
        estimate: StartEstimate = decode(reply, StartEstimate)
        return estimate.describe()

    def _submit(
        self, login: Connection, settings: Settings, parameters: dict[str, Any], confirm: Confirm
    ) -> SubmittedJob:
        marker = secrets.token_hex(16)
        environment = configured_environment(settings.notebook)
        # A node of a job is not shared as a host is.
        request = build_input(marker, "serve_in_job", parameters | {"nice": 0}, environment)
        submission = {
            "script": "#!/bin/sh\n" + script("node_keys.sh", *environment.scripts).decode(),
            "request": request.decode(),
            "marker": marker,
            "options": sbatch_options(settings.notebook.job),
            "signal_s": END_MARGIN_S,
        }
        reply = run_program(login, "submit_job", submission, timeout_s=COMMAND_TIMEOUT_S, confirm=confirm)
        if reply["problem"]:
            raise to_error(reply, login.label)
        submitted: SubmittedJob = decode(reply, SubmittedJob)
        return submitted

    def _wait(self, login: Connection, job: Job) -> Iterator[StateReply | SlurmUnavailableError]:
        """Yield the job's state until it runs or has ended: at once when it has started, else after a pause that grows.

        After the first pause Slurm has considered a new job. Later ones cost it nothing while the last status is valid.

        Yields the error while Slurm does not answer: a controller that is started again still knows the job.
        """
        interval_s = FIRST_INTERVAL_S
        while True:
            try:
                reply = self._query(login, job, max_age_s=MAX_QUERY_AGE_S, wait_s=interval_s)
            except SlurmUnavailableError as error:
                yield error
                continue
            finally:
                interval_s = min(MAX_INTERVAL_S, interval_s * BACKOFF)
            yield reply
            if reply.to_state(job).phase != "queued":
                return

    def _query(self, login: Connection, job: Job | None, **limits: float) -> StateReply:
        """The state of the job, when it has started or after `wait_s`; that of a queued one may be `max_age_s` old, any
        other `max_running_age_s`. Each is 0 by default.
        """
        identity: dict[str, Any] = {"id": job.id, "token": job.token} if job else {"id": None, "token": ""}
        parameters = identity | {"max_age_s": 0, "max_running_age_s": 0, "wait_s": 0} | limits
        reply: StateReply = decode(
            _run(login, "job_state", parameters, COMMAND_TIMEOUT_S + parameters["wait_s"]), StateReply
        )
        state = reply.to_state(job)
        runs = state.phase == "running" and not reply.is_ending
        seen_at = time.monotonic() - reply.age_s
        self._seen_running = (state.job.token, seen_at) if state.job and runs else NEVER_SEEN
        return reply

    def _ended(self, login: Connection, reply: StateReply, job: Job) -> Launched:
        """The result of the start in a job that has ended; removes what is left of it. Raises NotStartedError."""
        self.stop(login, job)
        return Launched(login, server_reply(login, reply), host_key(login), job)

    def _await_server(self, node: Connection, job: Job, settings: Settings) -> OutputReply:
        timeout_s = settings.notebook.start_timeout_s + START_MARGIN_S
        reply = self._read_output(node, job, timeout_s)
        if not has_reply(reply):
            raise RemoteError(
                f"the notebook server in job {job.id} did not answer within {timeout_s} s",
                hint=f"increase notebook.start_timeout_s; {command('stop')} ends the job",
            )
        return reply

    def _read_output(self, node: Connection, job: Job, timeout_s: int) -> OutputReply:
        """What the job has written, once that is the result of its server's start, or after the timeout."""
        parameters = {"token": job.token, "timeout_s": timeout_s}
        reply: OutputReply = decode(
            _run(node, "await_job", parameters, timeout_s + START_MARGIN_S), OutputReply
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
        return (NotStartedError if cancel else NeverStartsError)(
            f"{state.label} will not start: {state.description}" + ("; it was cancelled" if cancel else ""),
            hint=f"change {state.setting_to_change}"
            + ("" if cancel else f", and cancel the job: {command('stop')}"),
        )


def _require(job: Job | None) -> Job:
    if job is None:
        raise RemoteError("the job was not submitted", hint=f"{command('serve')} submits it")
    return job


def _run(
    connection: Connection, program: str, parameters: dict[str, Any], timeout_s: float = COMMAND_TIMEOUT_S
) -> dict[str, Any]:
    """The reply of a program. Raises RemoteError if it has a problem."""
    reply = run_program(connection, program, parameters, timeout_s=timeout_s)
    if reply["problem"]:
        raise to_error(reply, connection.label)
    return reply
