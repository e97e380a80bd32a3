"""What is recorded and shown while a server starts, and what becomes of a queued job on Ctrl-C."""

import time

import msgspec

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.jupyter import server
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import stop_job
from notebooks_over_ssh.jupyter.session import AnySession, PendingSession
from notebooks_over_ssh.launchers.base import Job, JobState
from notebooks_over_ssh.ssh.confirmation import ConfirmationRequest
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tasks.run import Run
from notebooks_over_ssh.terminal import is_terminal, print_progress, print_step, warn
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.util.command_hint import command
from notebooks_over_ssh.util.duration import describe_duration

TICKET_PREFIX = "notebook.prefix: [krenew, -K, '60', --]"


class StartRecord:
    """Keeps a pending session on record until the result of a start is known, and shows how it goes on."""

    def __init__(self, login: Connection, run: Run, old_session: AnySession | None) -> None:
        """`old_session` is the session on record before the start."""
        self.pending: PendingSession | None = None
        self.queued: JobState | None = None
        """The last state of a job that is not known to run."""
        self._login = login
        self._settings = run.settings
        self._prompter = run.prompter
        self._old_session = old_session
        self._start_time = time.monotonic()

    def before_start(self, request: ConfirmationRequest) -> None:
        """Save a pending session. Raises TaskError, also if the user declines, or RemoteError for an invalid name."""
        pending = server.make_pending_session(request.host, self._login, self._settings)
        if self._login.login.delegates_ticket and not self._settings.notebook.prefix:
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

    def job_found(self, job: Job, *, is_new: bool) -> None:
        """Save the job with the pending session, unless it is that of the session on record. Raises as above."""
        verb = "submitted" if is_new else "found"
        print_step("serve", f"{verb} job {job.id} on {self._login.label}")
        old = self._old_session
        if old and old.job and old.job.token == job.token:
            self.pending = old if isinstance(old, PendingSession) else None
            return
        pending = self.pending or server.make_pending_session(self._login.label, self._login, self._settings)
        self._save(msgspec.structs.replace(pending, job=job))

    def job_queued(self, state: JobState) -> None:
        """Show why the job waits; where the line stays, only when that has changed."""
        previous, self.queued = self.queued, state
        if is_terminal() or previous is None or previous.description != state.description:
            waited_s = time.monotonic() - self._start_time
            print_progress("serve", describe_queued(state, waited_s, time.time()))

    def job_started(self, state: JobState) -> None:
        """Show that the job runs."""
        self.queued = None
        node = state.job.node if state.job else ""
        print_step("serve", f"{state.label} is running on {node}")

    def _save(self, pending: PendingSession) -> None:
        remove_duplicates(pending)
        sessions.save_pending(pending)
        self.pending = pending


def remove_duplicates(session: AnySession) -> None:
    """Remove other records of the same server, or of the job that this one replaces. Raises TaskError."""
    for duplicate in sessions.find_duplicates(session):
        tunnels.terminate(duplicate)
        sessions.delete(duplicate)


def keep_or_cancel(
    pending: PendingSession, queued: JobState, login: Connection, run: Run, *, may_ask: bool
) -> None:
    """Ask whether to cancel a queued job; without an answer it stays queued. Raises a UserError."""
    if may_ask and run.prompter.confirm(f"{queued.label} is queued: cancel it?"):
        stop_job(pending, login)
        sessions.delete_pending(pending)
        print_step("serve", f"cancelled {queued.label}")
    else:
        warn(
            f"{queued.label} stays queued: {command('serve')} continues to wait for it, {command('stop')} cancels it"
        )


def describe_queued(state: JobState, waited_s: float, now: float) -> str:
    """The line that shows a queued job. `now` is the time in seconds since 1970."""
    estimate = ""
    if state.starts_at is not None and state.starts_at > now:
        estimate = f"; Slurm expects to start it in {describe_duration(state.starts_at - now)}"
    return f"{state.label} is queued: {state.description}; waited {describe_duration(waited_s)}{estimate}"
