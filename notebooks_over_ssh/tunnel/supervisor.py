"""Keeps a tunnel alive: when the way to the host is lost it is found again, and the local ports stay what they are.

No attempt to log in is made that a person did not make: where a password or a code is wanted that is not known,
the tunnel waits for its user. What the silent connection carries stays on it until it is over (`old_paths`).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event, Thread
from typing import Literal

from msgspec.structs import replace

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import ConnectError, RemoteError
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import connect_to_session
from notebooks_over_ssh.jupyter.session import Session, Tunnel
from notebooks_over_ssh.jupyter.verification import VERIFY_TIMEOUT_S, verify_server
from notebooks_over_ssh.ssh import connection as ssh
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from notebooks_over_ssh.tunnel import Forwarder
from notebooks_over_ssh.tunnel.events import (
    Disconnected,
    EventHandler,
    Reconnected,
    Resumed,
    ServerEnded,
    ServerReplaced,
)
from notebooks_over_ssh.tunnel.keepalive import KeepaliveMonitor
from notebooks_over_ssh.tunnel.port_access import verify_over
from notebooks_over_ssh.tunnel.reconnecting import Reconnector
from notebooks_over_ssh.tunnel.server_monitor import ServerMonitor
from notebooks_over_ssh.tunnel.unresponsive_transports import UnresponsiveTransports, close
from notebooks_over_ssh.util import heap

POLL_INTERVAL_S = 0.5


class TunnelSupervisor:
    """The Connection that carries the tunnel of this process, and the next one when it is lost."""

    def __init__(self, session: Session, settings: Settings, tunnel: Tunnel, forwarder: Forwarder) -> None:
        self.tunnel = tunnel
        self._settings = settings
        self._forwarder = forwarder
        self.clock_offset_s: float | None = None
        self._wakeup = Event()
        self._unresponsive = UnresponsiveTransports(forwarder)
        self._monitor: KeepaliveMonitor | None = None
        self._verification_requested = False
        self._verification_thread: Thread | None = None
        self._target = forwarder.targets[0]
        self._target.is_verified = lambda: self._server_monitor.may_connect()
        self._target.on_queued = self._request_verification
        self._server_monitor = self._make_monitor(session)

    @property
    def session(self) -> Session:
        """The session as it is now: its server may be another than in the beginning."""
        return self._server_monitor.session

    def connect(self, credentials: CredentialPrompter) -> Connection:
        """Find the way, and lead the forwarder through it once the server has proved itself. Raises a UserError."""
        connection = connect_to_session(self.session, self._settings, credentials)
        self._verify_first(connection)
        self._set_connection(connection)
        return connection

    def close(self) -> None:
        """Close every connection, so that what waits for a path that takes nothing ends."""
        self._server_monitor.stop()
        self._unresponsive.close()
        if self._monitor is not None:
            ssh.close(self._monitor.connection)

    def run(self, credentials: CredentialPrompter, on_event: EventHandler) -> None:
        """Stay until something is raised here, as Ctrl-C does, and find the way again whenever it is lost.

        Raises a UserError when there is nothing any more that the tunnel could lead to.
        """
        while True:
            reason = self._run_until_lost(on_event)
            lost_at = time.time()
            self._save_state("reconnecting")
            on_event(Disconnected(reason))
            is_new = self._reconnect(credentials, on_event)
            outage_s = time.time() - lost_at
            if not self._server_monitor.end_reason:
                self._save_state("open")
            on_event(Reconnected(outage_s) if is_new else Resumed(outage_s))
            if self._server_monitor.end_reason:
                self._report_server_end(on_event)

    def _run_until_lost(self, on_event: EventHandler) -> str:
        """Look after the way and the server; returns what happened to the way, for the user to read."""
        assert self._monitor is not None, "connect comes first"
        while True:
            reason = self._monitor.check()
            if reason:
                return reason
            self._unresponsive.check()
            heap.trim()
            self._check_server(self._monitor.connection, on_event)
            self._wakeup.wait(POLL_INTERVAL_S)
            self._wakeup.clear()

    def _reconnect(self, credentials: CredentialPrompter, on_event: EventHandler) -> bool:
        """Return once there is a way: whether it is a new one, or the old one answers again. Raises RemoteError."""
        assert self._monitor is not None, "connect comes first"
        reconnector = Reconnector(self._monitor, self.session, self._save_state, on_event)
        ssh.release(self._monitor.connection)
        if self._monitor.has_ended:
            self._close_old()
        for interactive in reconnector.attempts(credentials, self._unresponsive.check):
            self._reload_session()
            with reconnector.attempt():
                self._reconnect_once(credentials if interactive else credentials.non_interactive())
        return reconnector.succeeded

    def _reconnect_once(self, credentials: CredentialPrompter) -> None:
        """As `connect`, but with a way to a server that has ended the tunnel waits for the next one."""
        assert self._monitor is not None, "connect comes first"
        connection = connect_to_session(self.session, self._settings, credentials)
        if not self._server_monitor.end_reason:
            try:
                self._verify_first(connection)
            except RemoteError as error:
                # A server that is slow to answer may still be there; one that refuses, or is another, is not.
                if isinstance(error.__cause__, TimeoutError):
                    raise
                self._server_monitor.mark_ended(str(error))
        if not self._monitor.has_ended:
            self._unresponsive.add(self._monitor)
        else:
            self._close_old()
        self._set_connection(connection)

    def _close_old(self) -> None:
        if self._monitor is not None:
            close(self._monitor.connection, self._forwarder)

    def _set_connection(self, connection: Connection) -> None:
        self._monitor = KeepaliveMonitor(connection)
        self._forwarder.set_transport(connection.port_transport)
        if not self._server_monitor.end_reason:
            self._server_monitor.start(connection.transport)

    def _verify_first(self, connection: Connection) -> None:
        """Have the server prove itself over a new connection, and find out how its port is reached there."""
        with self._report_lost_connection(connection):
            refusal, self.clock_offset_s = verify_over(
                self.session, connection, self._forwarder, VERIFY_TIMEOUT_S
            )
        self.tunnel = replace(self.tunnel, forwarding_refusal=refusal)
        self._server_monitor.verified()

    def _verify(self, connection: Connection) -> None:
        dial = partial(self._forwarder.open_connection, connection.port_transport, self.session.remote_port)
        with self._report_lost_connection(connection):
            verify_server(self.session, dial, VERIFY_TIMEOUT_S)
        self._server_monitor.verified()

    @contextmanager
    def _report_lost_connection(self, connection: Connection) -> Iterator[None]:
        try:
            yield
        except RemoteError as error:
            if connection.is_connected:
                raise
            raise ConnectError(f"the connection to {self.session.host} was lost again") from error

    # ---- the server ----

    def _make_monitor(self, session: Session) -> ServerMonitor:
        def on_end() -> None:
            # Of a server that has ended nothing is open; what is, may be another's.
            self._forwarder.reset_target(self._target)
            self._wakeup.set()

        return ServerMonitor(session, on_end, self._forwarder.serve_queued)

    def _request_verification(self) -> None:
        self._verification_requested = True
        self._wakeup.set()

    def _check_server(self, connection: Connection, on_event: EventHandler) -> None:
        if self._reload_session():
            try:
                self._verify(connection)
            except ConnectError:
                return
            except RemoteError as error:
                if not isinstance(error.__cause__, TimeoutError):
                    self._server_monitor.mark_ended(str(error))
            else:
                self._server_monitor.start(connection.transport)
                self._save_state("open")
                on_event(ServerReplaced(f"{self.session.host}:{self.session.remote_port}"))
        if self._server_monitor.end_reason:
            if not self.tunnel.login_required:
                self._report_server_end(on_event)
        elif self._server_monitor.needs_verification or (
            self._verification_requested and not self._server_monitor.may_connect()
        ):
            self._verify_in_background(connection)

    def _reload_session(self) -> bool:
        """Go on with the server that `serve` has put on record meanwhile; whether it is another one."""
        current = sessions.reload(self.session)
        if (current.pid, current.process_start, current.remote_port, current.certificate_pem) == (
            self.session.pid,
            self.session.process_start,
            self.session.remote_port,
            self.session.certificate_pem,
        ):
            return False
        self._server_monitor.stop()
        self._server_monitor.mark_ended("the session has another server")
        self._server_monitor = self._make_monitor(current)
        self._target.port = current.remote_port
        self.tunnel = replace(self.tunnel, remote_port=current.remote_port)
        return True

    def _report_server_end(self, on_event: EventHandler) -> None:
        self._save_state("reconnecting", login_required=self._server_monitor.end_reason)
        on_event(ServerEnded(self._server_monitor.end_reason))

    def _verify_in_background(self, connection: Connection) -> None:
        """Have the server prove itself while this thread looks after the way."""
        if self._verification_thread is not None and self._verification_thread.is_alive():
            return
        self._verification_requested = False
        server = self._server_monitor

        def verify() -> None:
            try:
                self._verify(connection)
            except ConnectError:
                pass
            except RemoteError as error:
                if isinstance(error.__cause__, TimeoutError):
                    self._request_verification()
                else:
                    server.mark_ended(str(error))

        self._verification_thread = Thread(target=verify, name="proof", daemon=True)
        self._verification_thread.start()

    def _save_state(self, state: Literal["open", "reconnecting"], login_required: str = "") -> None:
        self.tunnel = replace(self.tunnel, state=state, login_required=login_required)
        sessions.save_tunnel(self.session, self.tunnel)
