"""Keeps a tunnel open: reconnects when the connection to the host is lost, while the local ports stay the same.

It never retries with credentials that the user would have to type: then the tunnel waits for the user. Forwarded
connections stay on a connection that has stopped answering as long as TCP may still deliver
(`unresponsive_transports`).
"""

import time
from collections.abc import Generator
from contextlib import closing
from typing import Literal, Self

from msgspec.structs import replace

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import connect_to_login_of, connect_to_session
from notebooks_over_ssh.jupyter.session import Session, Tunnel
from notebooks_over_ssh.launchers.base import JobEndedError
from notebooks_over_ssh.ssh import connections as ssh
from notebooks_over_ssh.ssh.connection import Connection, hops
from notebooks_over_ssh.ssh.mux.holder import LoginHolder
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from notebooks_over_ssh.tunnel import Forwarder
from notebooks_over_ssh.tunnel.desktop import show_notice
from notebooks_over_ssh.tunnel.events import (
    Disconnected,
    JobEnded,
    LoginRequired,
    Reconnected,
    Resumed,
    ServerAwaited,
    ServerEnded,
    TimeLimitNear,
    TunnelEvent,
)
from notebooks_over_ssh.tunnel.job_watch import JobWatch
from notebooks_over_ssh.tunnel.keepalive import KeepaliveMonitor
from notebooks_over_ssh.tunnel.next_server import NextServer, is_renewable
from notebooks_over_ssh.tunnel.reconnecting import Reconnector
from notebooks_over_ssh.tunnel.server_tracker import ServerTracker
from notebooks_over_ssh.tunnel.time_limit import TimeLimit
from notebooks_over_ssh.tunnel.unresponsive_transports import UnresponsiveTransports, close
from notebooks_over_ssh.util import heap

POLL_INTERVAL_S = 0.5


class TunnelSupervisor:
    """The tunnel of this process, and its current Connection. `connect` makes one."""

    def __init__(
        self,
        settings: Settings,
        tunnel: Tunnel,
        forwarder: Forwarder,
        server: ServerTracker,
        connection: Connection,
        time_limit: TimeLimit,
        logins: LoginHolder,
    ) -> None:
        """`server` has been verified over `connection`."""
        self._logins = logins
        self.tunnel = replace(tunnel, forwarding_refusal=server.forwarding_refusal)
        self.server = server
        self._settings = settings
        self._time_limit, self._limited_session = time_limit, server.session
        self._next_server: NextServer | None = None
        self._job_watch = JobWatch()
        self._keeps_login = False
        self._forwarder = forwarder
        self._unresponsive = UnresponsiveTransports(forwarder)
        self._monitor = self._use(connection)

    @classmethod
    def connect(
        cls,
        session: Session,
        settings: Settings,
        tunnel: Tunnel,
        forwarder: Forwarder,
        credentials: CredentialPrompter,
        logins: LoginHolder,
    ) -> Self:
        """Connect to the session's host, verify its server, and forward over that connection. Raises a UserError.

        Other commands may use its login by `logins`.
        """
        server = ServerTracker(session, forwarder)
        connection = connect_to_session(session, settings, credentials)
        server.verify(connection)
        time_limit = TimeLimit.of(session, connection)
        return cls(settings, tunnel, forwarder, server, connection, time_limit, logins)

    @property
    def awaits_server(self) -> bool:
        """Whether the session has no server until its job starts."""
        return self._next_server is not None

    @property
    def connection(self) -> Connection:
        """The Connection that new forwarded connections use."""
        return self._monitor.connection

    def keep_login(self) -> None:
        """Let `close` leave the login open, unless it is lost: this command goes on to use it."""
        self._logins.is_needed = True

    def close(self) -> None:
        """Close every Connection that is not kept as a login, which unblocks the threads that write to it."""
        self.server.close()
        self._unresponsive.close()
        if not self._logins.outlives_tunnel:
            ssh.close(self.connection)
        elif self.server.session.job is not None:
            ssh.close_last(self.connection)  # the way to its node may be a step of the job
        else:
            self.connection.close_relay()

    def run(self, credentials: CredentialPrompter) -> Generator[TunnelEvent]:
        """Keep the tunnel open, and yield what happens to it; ends only with an exception, such as KeyboardInterrupt.

        The tunnel's record shows each event by the time it is yielded. Raises a UserError when nothing is left to
        reconnect to.
        """
        for event in self._events(credentials):
            match event:
                case LoginRequired(reason) | ServerEnded(reason):
                    self._save_state("reconnecting", reason)
                case Disconnected() | JobEnded() | ServerAwaited():
                    self._save_state("reconnecting")
                case TimeLimitNear():
                    show_notice(str(event))
                case _ if not self.server.has_ended:
                    self._save_state("open")
            yield event

    def _events(self, credentials: CredentialPrompter) -> Generator[TunnelEvent]:
        while True:
            reason = yield from self._run_until_lost()
            lost_at, session = time.time(), self.server.session
            if not self._has_login():
                self._logins.withdraw()
            yield Disconnected(reason)
            is_new = yield from self._reconnect(credentials)
            self._logins.offer(self.connection)
            self._monitor.path_restored()
            self._unresponsive.path_restored()
            outage_s = time.time() - lost_at
            yield Reconnected(outage_s) if is_new else Resumed(outage_s)
            if self.server.has_ended:
                yield self.server.report_end()
            elif self.server.session != session:
                yield self.server.report_replaced()

    def _run_until_lost(self) -> Generator[TunnelEvent, None, str]:
        """Check the connection and the server; returns how the connection was lost, for the user to read."""
        while True:
            reason = self._monitor.check()
            if reason:
                return reason
            self._unresponsive.check(self._monitor.last_received_at)
            heap.trim()
            yield from self._time_limit.check()
            job = self.server.session.job
            yield from self.server.check(self.connection)
            if not self.server.is_of_job(job):
                close(self.connection, self._forwarder)
                return "the server is in another job now"
            if self.server.has_ended and self._job_watch.has_ended(self.server.session, self.connection):
                ssh.close_last(self.connection)
                return "the server's job has ended"
            self.server.changed.wait(POLL_INTERVAL_S)
            self.server.changed.clear()

    def _reconnect(self, credentials: CredentialPrompter) -> Generator[TunnelEvent, None, bool]:
        """Try until a connection answers; returns whether it is a new one. Raises RemoteError if there can be none."""
        self._keeps_login = self._monitor.has_ended and self._has_login()
        reconnector = Reconnector(
            self._monitor, self.server.session, self._unresponsive, has_login=self._keeps_login
        )
        if self._keeps_login:
            ssh.close_last(self.connection)
            self._forwarder.reset_transport(self.connection.port_transport)
        else:
            for hop in hops(self.connection):
                ssh.release(hop)
            if self._monitor.has_ended:
                close(self.connection, self._forwarder)
        with closing(reconnector.steps(credentials)) as steps:
            for step in steps:
                if isinstance(step, LoginRequired):
                    yield step
                    continue
                self._save_state("reconnecting", step.host_key_error)
                self.server.reload()
                with reconnector.attempt():
                    yield from self._reconnect_once(
                        credentials.non_interactive() if step.host_key_error else credentials
                    )
        return reconnector.succeeded

    def _has_login(self) -> bool:
        """Whether the connection to the login node of a job is up: when the job ends, only that to its node is lost."""
        gateway = self.connection.gateway
        return (
            self.server.session.job is not None and isinstance(gateway, Connection) and gateway.is_connected
        )

    def _reconnect_once(self, credentials: CredentialPrompter) -> Generator[TunnelEvent]:
        """Replace the connection with a new one. Raises a UserError."""
        connection = yield from self._reach_server(credentials)
        self.server.verify_after_reconnect(connection)
        if self.server.session != self._limited_session:
            self._time_limit = TimeLimit.of(self.server.session, connection)
            self._limited_session = self.server.session
        if not self._monitor.has_ended:
            self._unresponsive.add(self._monitor)
        elif not self._keeps_login:
            close(self.connection, self._forwarder)
        self._monitor = self._use(connection)

    def _reach_server(self, credentials: CredentialPrompter) -> Generator[TunnelEvent, None, Connection]:
        """Connect to the server's machine; if its job has ended or is queued again, wait for the next server.

        Raises a UserError: JobEndedError if there will be none.
        """
        session = self.server.session
        if self._next_server is None:
            try:
                return connect_to_session(session, self._settings, credentials)
            except JobEndedError as error:
                if error.state.phase == "ended" and not is_renewable(error.state, self._settings):
                    raise
                reason = str(error)
            self._next_server = NextServer(session, self._settings)
            if not self._keeps_login:
                close(self.connection, self._forwarder)
            yield JobEnded(reason)
        login = connect_to_login_of(session, self._settings, credentials)
        self._logins.offer(login)
        _, connection = yield from self._next_server.start(login)
        self._next_server = None
        self.server.reload()
        return connection

    def _use(self, connection: Connection) -> KeepaliveMonitor:
        """Forward new connections over this one, and watch the server over it."""
        self._forwarder.set_transport(connection.port_transport)
        self._logins.offer(connection)
        self.server.watch(connection)
        return KeepaliveMonitor(connection)

    def _save_state(self, state: Literal["open", "reconnecting"], login_required: str = "") -> None:
        session = self.server.session
        self.tunnel = replace(
            self.tunnel,
            state=state,
            login_required=login_required,
            remote_port=session.remote_port,
            forwarding_refusal=self.server.forwarding_refusal,
        )
        sessions.save_tunnel(session, self.tunnel)
