"""The next server of a session whose job is queued, or has ended: the tunnel waits for it at the same address."""

import time
from collections.abc import Generator

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import RemoteError, TaskError
from notebooks_over_ssh.jupyter import server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import job_state
from notebooks_over_ssh.jupyter.remote_result import RemoteScriptError
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.launchers.base import (
    Job,
    JobEndedError,
    JobFound,
    JobQueued,
    JobState,
    NotStartedError,
    StartEvent,
)
from notebooks_over_ssh.launchers.progress import describe_found, describe_queued, describe_started
from notebooks_over_ssh.ssh.confirmation import ConfirmationRequest
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tunnel.events import ServerAwaited
from notebooks_over_ssh.util.command_hint import command
from notebooks_over_ssh.util.generator_result import WithResult

MAX_SUBMISSIONS = 3
"""How many jobs are submitted for one server: a cluster that ends each of them at once is left in peace then."""


class NextServer:
    """Waits for the server of a session, in another job if the cluster has ended the last one and that is wanted."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self.session = session
        """The session; with its new server once `start` has returned."""
        self._settings = _settings_of(session, settings)
        self._submissions = 0
        self._started_at = time.monotonic()
        self._reason = ""

    def start(self, login: Connection) -> Generator[ServerAwaited, None, Connection]:
        """Wait for the server, and record it; returns the Connection to its machine. May be called again.

        `login` is the connection to the host that leads to the job. Raises JobEndedError if the job has ended and none
        takes its place, TaskError if the server cannot start, and another UserError if that may pass.
        """
        self.session = sessions.reload(self.session)
        may_submit = self._may_submit(job_state(self.session, login))

        def confirm(request: ConfirmationRequest) -> None:
            if not may_submit:
                raise RemoteError(
                    "the job has ended meanwhile", hint=f"{command('status')} shows how it ended"
                )
            self._submissions += 1
            self._record_job(None)

        start = WithResult(server.start(login, self._settings, confirm))
        try:
            for event in start:
                if isinstance(event, JobFound):
                    self._record_job(event.job)
                yield self._describe(event, login.label)
        except RemoteScriptError as error:
            raise _final(error) from error
        except NotStartedError as error:
            if self._submissions >= MAX_SUBMISSIONS:
                raise _final(error) from error
            raise
        started, launched = start.result
        self.session = server.renew_session(self.session, started, launched)
        sessions.save(self.session)
        return launched.connection

    def _may_submit(self, state: JobState | None) -> bool:
        """Whether to submit a job if there is none. Raises JobEndedError, or TaskError after too many attempts."""
        if state is None or state.phase != "ended":
            return False
        if state.job and not is_renewable(state, self._settings):
            raise JobEndedError(state, hint=f"{command('serve')} submits another")
        if self._submissions >= MAX_SUBMISSIONS:
            raise TaskError(
                f"{state.label} {state.description}, as did the {MAX_SUBMISSIONS - 1} before it, without a server",
                hint=f"{command('serve')} submits another",
                detail=state.detail,
                source=state.label,
            )
        return True

    def _record_job(self, job: Job | None) -> None:
        """Save the job with the session: None while it is being submitted, so that any job counts."""
        if self.session.job is None or job is None or self.session.job.token != job.token:
            self.session = msgspec.structs.replace(self.session, job=job)
            sessions.save(self.session)

    def _describe(self, event: StartEvent, host: str) -> ServerAwaited:
        match event:
            case JobFound():
                return ServerAwaited(describe_found(event, host))
            case JobQueued(state):
                previous, self._reason = self._reason, state.description
                line = describe_queued(state, time.monotonic() - self._started_at, time.time())
                return ServerAwaited(line, is_news=state.description != previous)
            case _:
                return ServerAwaited(describe_started(event.state))


def is_renewable(state: JobState, settings: Settings) -> bool:
    """Whether another job takes the place of the one that has ended."""
    return state.is_renewable and settings.notebook.job.renew


def _settings_of(session: Session, settings: Settings) -> Settings:
    """The settings, with the launcher of the session, and for a job the options that the last one had."""
    settings = sessions.with_launcher(settings, session)
    if session.job is None or session.job.options is None:
        return settings
    job = type(settings.notebook.job)(sbatch_arguments=session.job.options, renew=settings.notebook.job.renew)
    return msgspec.structs.replace(settings, notebook=msgspec.structs.replace(settings.notebook, job=job))


def _final(error: RemoteError) -> TaskError:
    """The error as one after which nothing is tried again."""
    return TaskError(str(error), hint=error.hint, detail=error.detail, source=error.source)
