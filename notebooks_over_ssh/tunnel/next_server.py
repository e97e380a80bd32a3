"""The next server of a session whose job is queued, or has ended: the tunnel waits for it at the same address."""

import time
from collections.abc import Generator

import msgspec

from notebooks_over_ssh.config.job import replace_options
from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import RemoteError, TaskError
from notebooks_over_ssh.jupyter import server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import job_state, stop_job
from notebooks_over_ssh.jupyter.remote_result import RemoteScriptError
from notebooks_over_ssh.jupyter.session import AnySession, PendingSession, Session
from notebooks_over_ssh.launchers.base import (
    Job,
    JobEndedError,
    JobFound,
    JobQueued,
    JobState,
    NeverStartsError,
    NotStartedError,
    StartEvent,
)
from notebooks_over_ssh.launchers.progress import describe_job_found, describe_queued, describe_started
from notebooks_over_ssh.ssh.confirmation import ConfirmationRequest
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tunnel.events import ServerAwaited
from notebooks_over_ssh.util.command_hint import command
from notebooks_over_ssh.util.generator_result import WithResult

MAX_SUBMISSIONS = 3
"""How many jobs are submitted for one server: a cluster that ends each of them at once is left in peace then."""
MAX_FAILURES = 5
"""How many errors of the host, one after the other, may pass by themselves."""


class NextServer:
    """Waits for the server of a session, in another job if the cluster has ended the last one and that is wanted."""

    def __init__(self, session: AnySession, settings: Settings) -> None:
        self._session = session
        self._settings = settings_of(session, settings)
        self._submissions = 0
        self._failures = 0
        self._started_at = time.monotonic()
        self._reason = ""

    def start(self, login: Connection) -> Generator[ServerAwaited, None, tuple[Session, Connection]]:
        """Wait for the server, and record it; returns the session and the Connection to the server's machine.

        `login` is the connection to the host that leads to the job. Raises JobEndedError if the job has ended and none
        takes its place, or TaskError if the server cannot start. After another UserError it may be called again.
        """
        try:
            return (yield from self._start(login))
        except JobEndedError as error:
            if error.state.phase == "ended":
                raise
            raise RemoteError(str(error), hint=error.hint) from error  # it is queued again
        except RemoteError as error:
            self._failures += 1
            is_final = isinstance(error, RemoteScriptError | NeverStartsError) or (
                isinstance(error, NotStartedError) and self._submissions >= MAX_SUBMISSIONS
            )
            if is_final or self._failures >= MAX_FAILURES:
                raise TaskError(
                    str(error), hint=error.hint, detail=error.detail, source=error.source
                ) from error
            raise

    def _start(self, login: Connection) -> Generator[ServerAwaited, None, tuple[Session, Connection]]:
        self._session = sessions.reload(self._session)
        may_submit = self._may_submit(job_state(self._session, login))
        if may_submit and self._session.job:
            stop_job(self._session, login)  # removes its files
            self._record_job(None)

        def confirm(request: ConfirmationRequest) -> None:
            if not may_submit:
                raise RemoteError(
                    "the job has ended meanwhile", hint=f"{command('status')} shows how it ended"
                )
            self._submissions += 1

        start = WithResult(server.start(login, self._settings, confirm))
        for event in start:
            if isinstance(event, JobFound):
                self._record_job(event.job)
            else:
                self._failures = 0
            yield self._describe(event, login.label)
        started, launched = start.result
        session = server.renew_session(self._session, started, launched)
        sessions.save(session)
        return session, launched.connection

    def _may_submit(self, state: JobState | None) -> bool:
        """Whether to submit a job if there is none. Raises JobEndedError if none takes the place of this one."""
        if state is None or state.phase != "ended":
            return False
        if state.job and not is_renewable(state, self._settings):
            raise JobEndedError(state, hint=f"{command('serve')} submits another")
        return True

    def _record_job(self, job: Job | None) -> None:
        """Save the job with the session: None while it is being submitted, so that any job counts."""
        recorded = self._session.job
        if recorded and job and recorded.token == job.token:
            return
        self._session = msgspec.structs.replace(self._session, job=job)
        if isinstance(self._session, PendingSession):
            sessions.save_pending(self._session)
        else:
            sessions.save(self._session)

    def _describe(self, event: StartEvent, host: str) -> ServerAwaited:
        match event:
            case JobFound():
                return ServerAwaited(describe_job_found(event, host))
            case JobQueued(state):
                previous, self._reason = self._reason, state.description
                line = describe_queued(state, time.monotonic() - self._started_at, time.time())
                return ServerAwaited(line, is_news=state.description != previous)
            case _:
                return ServerAwaited(describe_started(event.state))


def is_renewable(state: JobState, settings: Settings) -> bool:
    """Whether another job takes the place of the one that has ended."""
    return state.is_renewable and settings.notebook.job.renew


def settings_of(session: AnySession, settings: Settings) -> Settings:
    """The settings, with the launcher of the session, and for a job the options that the last one had."""
    settings = sessions.with_launcher(settings, session)
    if session.job is None or session.job.options is None:
        return settings
    return _with_job_options(settings, session.job.options)


def settings_of_restart(session: AnySession, settings: Settings) -> Settings:
    """As `settings_of`; what this command's flags ask for takes the place of what the last job had."""
    settings = settings_of(session, settings)
    if session.job is None or session.job.options is None:
        return settings
    return _with_job_options(settings, replace_options(session.job.options, settings.requested_job))


def _with_job_options(settings: Settings, options: list[str]) -> Settings:
    job = type(settings.notebook.job)(sbatch_arguments=options, renew=settings.notebook.job.renew)
    return msgspec.structs.replace(settings, notebook=msgspec.structs.replace(settings.notebook, job=job))
