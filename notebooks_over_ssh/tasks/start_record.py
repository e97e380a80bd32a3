"""What is recorded and shown while a server starts, and what becomes of a queued job on Ctrl-C."""

import time

import msgspec

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.jupyter import server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import connect_to_login_of, stop_job
from notebooks_over_ssh.jupyter.session import AnySession, PendingSession
from notebooks_over_ssh.launchers.base import JobFound, JobQueued, JobState, StartEvent
from notebooks_over_ssh.launchers.progress import describe_job_found, describe_queued, describe_started
from notebooks_over_ssh.ssh.confirmation import ConfirmationRequest
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tasks.run import Run
from notebooks_over_ssh.terminal import is_terminal, print_progress, print_step, warn
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.util.command_hint import command

TICKET_PREFIX = "notebook.prefix: [krenew, -K, '60', --]"


class StillQueuedError(Exception):
    """The job of the session is queued for longer than the command is to wait for it."""

    def __init__(self, session: PendingSession) -> None:
        super().__init__(session)
        self.session = session


class StartRecord:
    """Keeps a pending session on record until the result of a start is known, and shows how it goes on."""

    def __init__(
        self, login: Connection, run: Run, old_session: AnySession | None, queue_timeout_s: float
    ) -> None:
        """`old_session` is the session on record before the start; `queue_timeout_s` is how long the job may wait."""
        self.pending: PendingSession | None = None
        self.queued: JobState | None = None
        """The last state of a job that is not known to run."""
        self._login = login
        self._settings = run.settings
        self._prompter = run.prompter
        self._old_session = old_session
        self._start_time = time.monotonic()
        self._queue_timeout_s = queue_timeout_s

    @property
    def session(self) -> AnySession | None:
        """The record that the job is in."""
        return self.pending or self._old_session

    def before_start(self, request: ConfirmationRequest) -> None:
        """Save a pending session. Raises TaskError, also if the user declines, or RemoteError for an invalid name."""
        pending = server.make_pending_session(request.host, self._login, self._settings)
        ticket = self._login.login.ticket
        if ticket and ticket.is_delegated and not self._settings.notebook.prefix:
            warn(f"{pending.host} keeps your Kerberos ticket for this login only: {TICKET_PREFIX} renews it")
        if request.is_login_node and self._settings.notebook.launcher is None and self._old_session is None:
            self._check_login_node(pending.host)
        self._save(pending)

    def _check_login_node(self, host: str) -> None:
        """Ask whether to start the server on a login node; without a terminal, warn."""
        problem = f"{host} seems to be a login node of a Slurm cluster"
        if not self._prompter.is_interactive:
            warn(f"{problem}: {command('serve --slurm')} runs the server as a job")
        elif not self._prompter.confirm(f"{problem}: run the server on it?"):
            raise TaskError(
                f"{problem}, so nothing was started",
                hint=f"{command('serve --slurm')} runs the server as a job; with notebook.launcher: host it runs here",
            )

    def show(self, event: StartEvent) -> None:
        """Record and show what happens. Raises as above, and StillQueuedError."""
        match event:
            case JobFound():
                self._job_found(event)
            case JobQueued(state):
                self._job_queued(state)
            case _:
                self.queued = None
                print_step("serve", describe_started(event.state))

    def _job_found(self, event: JobFound) -> None:
        """Save the job with the pending session, unless it is that of the session on record."""
        job, old = event.job, self._old_session
        print_step("serve", describe_job_found(event, self._login.label))
        if old and old.job and old.job.token == job.token:
            self.pending = old if isinstance(old, PendingSession) else None
            return
        pending = self.pending or server.make_pending_session(self._login.label, self._login, self._settings)
        self._save(msgspec.structs.replace(pending, job=job))

    def _job_queued(self, state: JobState) -> None:
        """Show why the job waits; where the line stays, only when that has changed."""
        previous, self.queued = self.queued, state
        waited_s = time.monotonic() - self._start_time
        if is_terminal() or previous is None or previous.description != state.description:
            print_progress("serve", describe_queued(state, waited_s, time.time()))
        if self.session and waited_s > self._queue_timeout_s:
            raise StillQueuedError(sessions.to_pending(self.session))

    def _save(self, pending: PendingSession) -> None:
        sessions.save_pending(pending)
        self.pending = pending


def keep_or_cancel(session: AnySession, queued: JobState, run: Run, *, may_ask: bool) -> None:
    """Ask whether to cancel a queued job; without an answer it stays queued. Raises a UserError."""
    if may_ask and run.prompter.confirm(f"{queued.label} is queued: cancel it?"):
        tunnels.terminate(session)
        # The login may have been that of the tunnel, and have ended with it.
        stop_job(session, connect_to_login_of(session, run.settings, run.credentials))
        sessions.delete(session)
        print_step("serve", f"cancelled {queued.label}")
    else:
        warn(
            f"{queued.label} stays queued: {command('serve')} continues to wait for it, {command('stop')} cancels it"
        )
