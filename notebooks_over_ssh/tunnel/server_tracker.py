"""The server that a tunnel forwards to: verifies it, notices its end, and follows its replacement."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from notebooks_over_ssh.errors import ConnectError, RemoteError
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.jupyter.verification import VERIFY_TIMEOUT_S
from notebooks_over_ssh.launchers.base import Job
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tunnel import Forwarder, early_check
from notebooks_over_ssh.tunnel.events import ServerEnded, ServerReplaced
from notebooks_over_ssh.tunnel.port_access import verify_over
from notebooks_over_ssh.tunnel.server_monitor import ServerMonitor


class ServerTracker:
    """The server that the session's record names.

    It decides whether the forwarder may connect to its first target, the server's port.
    """

    def __init__(self, session: Session, forwarder: Forwarder) -> None:
        self.changed = Event()
        """Set when `check` should be called at once."""
        self.forwarding_refusal = ""
        """Why the host forbids forwarding; "" if it does not."""
        self.clock_offset_s: float | None = None
        """By how many seconds the host's clock is ahead of this machine's; None if unknown."""
        self._forwarder = forwarder
        self._verification_requested = False
        self._verification_thread: Thread | None = None
        self._end_reported = False
        self._target = forwarder.targets[0]
        self._monitor = self._make_monitor(session)
        self._target.is_verified = lambda: self._monitor.may_connect()
        self._target.on_queued = self._request_verification

    @property
    def session(self) -> Session:
        """The session with its current server."""
        return self._monitor.session

    def is_of_job(self, job: Job | None) -> bool:
        """Whether the current server runs in this job; None is for the host itself."""
        return (self.session.job and self.session.job.token) == (job and job.token)

    @property
    def has_ended(self) -> bool:
        """Whether the current server has ended."""
        return bool(self._monitor.end_reason)

    def verify(self, connection: Connection) -> None:
        """Verify the server over a new connection, and find out whether the host forbids forwarding.

        Raises RemoteError, or ConnectError if the connection is lost.
        """
        checked_at = early_check.result(self.session, connection)
        if checked_at is None:
            with self._detect_lost_connection(connection):
                self.forwarding_refusal, self.clock_offset_s = verify_over(
                    self.session, connection, self._forwarder, VERIFY_TIMEOUT_S
                )
            checked_at = time.monotonic()
        self._monitor.verified(checked_at)

    def verify_after_reconnect(self, connection: Connection) -> None:
        """Verify a server that has not ended; if it refuses, or another one answers, it has.

        Raises ConnectError if the connection is lost, RemoteError if the server does not answer in time.
        """
        if self.has_ended:
            return
        try:
            self.verify(connection)
        except RemoteError as error:
            if _timed_out(error):
                raise
            self._monitor.mark_ended(str(error))

    def watch(self, connection: Connection) -> None:
        """Watch the server over this connection from now on; returns at once."""
        if not self.has_ended:
            self._monitor.start(connection.transport)

    def check(self, connection: Connection) -> Iterator[ServerEnded | ServerReplaced]:
        """Yield what happened to the server, and verify it again where that is due. Call about once a second."""
        job = self.session.job
        if self.reload():
            if not self.is_of_job(job):
                return  # this connection leads to another machine
            try:
                self._verify_again(connection)
            except ConnectError:
                return
            except RemoteError as error:
                if not _timed_out(error):
                    self._monitor.mark_ended(str(error))
            else:
                self._monitor.start(connection.transport)
                yield self.report_replaced()
        if self.has_ended:
            if not self._end_reported:
                yield self.report_end()
        elif self._monitor.needs_verification or (
            self._verification_requested and not self._monitor.may_connect()
        ):
            self._verify_in_background(connection)

    def report_end(self) -> ServerEnded:
        """The event for a server that has ended."""
        self._end_reported = True
        return ServerEnded(self._monitor.end_reason)

    def report_replaced(self) -> ServerReplaced:
        """The event for another server."""
        return ServerReplaced(f"{self.session.host}:{self.session.remote_port}")

    def reload(self) -> bool:
        """Read the session's record; returns whether `serve` has put another server there."""
        current = sessions.reload(self.session)
        if (current.pid, current.process_start, current.remote_port, current.certificate_pem) == (
            self.session.pid,
            self.session.process_start,
            self.session.remote_port,
            self.session.certificate_pem,
        ):
            return False
        self._monitor.stop()
        self._monitor.mark_ended("the session has another server")
        self._monitor = self._make_monitor(current)
        self._end_reported = False
        self._target.port = current.remote_port
        return True

    def close(self) -> None:
        """Stop watching."""
        self._monitor.stop()

    def _make_monitor(self, session: Session) -> ServerMonitor:
        def on_end() -> None:
            # Another user's program may have taken the port since: no connection may reach it.
            self._forwarder.reset_target(self._target)
            self.changed.set()

        return ServerMonitor(session, on_end, self._forwarder.serve_queued)

    def _request_verification(self) -> None:
        self._verification_requested = True
        self.changed.set()

    def _verify_again(self, connection: Connection) -> None:
        transport = connection.port_transport
        with self._detect_lost_connection(connection):
            refusal, _ = verify_over(self.session, connection, self._forwarder, VERIFY_TIMEOUT_S)
        if connection.port_transport is not transport:  # no server was there to be verified before
            self.forwarding_refusal = refusal
            self._forwarder.set_transport(connection.port_transport)
        self._monitor.verified(time.monotonic())

    def _verify_in_background(self, connection: Connection) -> None:
        """Verify the server in another thread, so that this one keeps checking the connection."""
        if self._verification_thread is not None and self._verification_thread.is_alive():
            return
        self._verification_requested = False
        monitor = self._monitor

        def verify() -> None:
            try:
                self._verify_again(connection)
            except ConnectError:
                pass
            except RemoteError as error:
                if _timed_out(error):
                    self._request_verification()
                else:
                    monitor.mark_ended(str(error))

        self._verification_thread = Thread(target=verify, name="server verification", daemon=True)
        self._verification_thread.start()

    @contextmanager
    def _detect_lost_connection(self, connection: Connection) -> Iterator[None]:
        """Raise ConnectError in place of a RemoteError that a lost connection has caused."""
        try:
            yield
        except RemoteError as error:
            if connection.is_connected:
                raise
            raise ConnectError(f"the connection to {self.session.host} was lost again") from error


def _timed_out(error: RemoteError) -> bool:
    """Whether the server did not answer in time: it may be slow, and has not ended for that."""
    return isinstance(error.__cause__, TimeoutError)
