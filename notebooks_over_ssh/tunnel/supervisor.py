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
from notebooks_over_ssh.errors import CannotConnect, RemoteFailed
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import reach_session
from notebooks_over_ssh.jupyter.session import Session, Tunnel
from notebooks_over_ssh.jupyter.verification import PROOF_TIMEOUT_S, prove
from notebooks_over_ssh.ssh import connection as ssh
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.prompting import Asking
from notebooks_over_ssh.tunnel import Forwarder
from notebooks_over_ssh.tunnel.events import Answers, Back, Lost, ServerAgain, ServerEnded, Tell
from notebooks_over_ssh.tunnel.keepalive import Watch
from notebooks_over_ssh.tunnel.port_access import prove_through
from notebooks_over_ssh.tunnel.reconnecting import Search
from notebooks_over_ssh.tunnel.server_monitor import ServerWatch
from notebooks_over_ssh.tunnel.unresponsive_transports import OldPaths, close
from notebooks_over_ssh.util import heap

LOOK_EVERY_S = 0.5


class Lifeline:
    """The Connection that carries the tunnel of this process, and the next one when it is lost."""

    def __init__(self, session: Session, settings: Settings, tunnel: Tunnel, forwarder: Forwarder) -> None:
        self.tunnel = tunnel
        self._settings = settings
        self._forwarder = forwarder
        self.clock_ahead: float | None = None
        self._changed = Event()
        self._old = OldPaths(forwarder)
        self._watch: Watch | None = None
        self._is_wanted = False
        self._proof: Thread | None = None
        self._target = forwarder.targets[0]
        self._target.is_proven = lambda: self._server.may_lead()
        self._target.wanted = self._want
        self._server = self._watched(session)

    @property
    def session(self) -> Session:
        """The session as it is now: its server may be another than in the beginning."""
        return self._server.session

    def connect(self, asking: Asking) -> Connection:
        """Find the way, and lead the forwarder through it once the server has proved itself. Raises a Problem."""
        connection = reach_session(self.session, self._settings, asking)
        self._prove_first(connection)
        self._use(connection)
        return connection

    def close(self) -> None:
        """Close every connection, so that what waits for a path that takes nothing ends."""
        self._server.stop()
        self._old.close()
        if self._watch is not None:
            ssh.close(self._watch.connection)

    def hold(self, asking: Asking, tell: Tell) -> None:
        """Stay until something is raised here, as Ctrl-C does, and find the way again whenever it is lost.

        Raises a Problem when there is nothing any more that the tunnel could lead to.
        """
        while True:
            what = self._until_lost(tell)
            lost_at = time.time()
            self._remember("reconnecting")
            tell(Lost(what))
            is_new = self._find_again(asking, tell)
            gone_s = time.time() - lost_at
            if not self._server.why_ended:
                self._remember("open")
            tell(Back(gone_s) if is_new else Answers(gone_s))
            if self._server.why_ended:
                self._tell_end(tell)

    def _until_lost(self, tell: Tell) -> str:
        """Look after the way and the server; returns what happened to the way, for the user to read."""
        assert self._watch is not None, "connect comes first"
        while True:
            what = self._watch.look()
            if what:
                return what
            self._old.look()
            heap.trim()
            self._look_after_server(self._watch.connection, tell)
            self._changed.wait(LOOK_EVERY_S)
            self._changed.clear()

    def _find_again(self, asking: Asking, tell: Tell) -> bool:
        """Return once there is a way: whether it is a new one, or the old one answers again. Raises RemoteFailed."""
        assert self._watch is not None, "connect comes first"
        search = Search(self._watch, self.session, self._remember, tell)
        ssh.release(self._watch.connection)
        if self._watch.has_ended:
            self._leave_old()
        for with_person in search.attempts(asking, self._old.look):
            self._follow_record()
            with search.one_attempt():
                self._connect_again(asking if with_person else asking.alone())
        return search.has_found

    def _connect_again(self, asking: Asking) -> None:
        """As `connect`, but with a way to a server that has ended the tunnel waits for the next one."""
        assert self._watch is not None, "connect comes first"
        connection = reach_session(self.session, self._settings, asking)
        if not self._server.why_ended:
            try:
                self._prove_first(connection)
            except RemoteFailed as problem:
                # A server that is slow to answer may still be there; one that refuses, or is another, is not.
                if isinstance(problem.__cause__, TimeoutError):
                    raise
                self._server.end(str(problem))
        if not self._watch.has_ended:
            self._old.keep(self._watch)
        else:
            self._leave_old()
        self._use(connection)

    def _leave_old(self) -> None:
        if self._watch is not None:
            close(self._watch.connection, self._forwarder)

    def _use(self, connection: Connection) -> None:
        self._watch = Watch(connection)
        self._forwarder.lead_through(connection.port_transport)
        if not self._server.why_ended:
            self._server.start(connection.transport)

    def _prove_first(self, connection: Connection) -> None:
        """Have the server prove itself over a new connection, and find out how its port is reached there."""
        with self._unless_lost(connection):
            refusal, self.clock_ahead = prove_through(
                self.session, connection, self._forwarder, PROOF_TIMEOUT_S
            )
        self.tunnel = replace(self.tunnel, forwarding_refusal=refusal)
        self._server.proved()

    def _prove(self, connection: Connection) -> None:
        dial = partial(self._forwarder.connect, connection.port_transport, self.session.remote_port)
        with self._unless_lost(connection):
            prove(self.session, dial, PROOF_TIMEOUT_S)
        self._server.proved()

    @contextmanager
    def _unless_lost(self, connection: Connection) -> Iterator[None]:
        try:
            yield
        except RemoteFailed as problem:
            if connection.is_connected:
                raise
            raise CannotConnect(f"the connection to {self.session.host} was lost again") from problem

    # ---- the server ----

    def _watched(self, session: Session) -> ServerWatch:
        def ended() -> None:
            # Of a server that has ended nothing is open; what is, may be another's.
            self._forwarder.end(self._target)
            self._changed.set()

        return ServerWatch(session, ended, self._forwarder.serve_queued)

    def _want(self) -> None:
        self._is_wanted = True
        self._changed.set()

    def _look_after_server(self, connection: Connection, tell: Tell) -> None:
        if self._follow_record():
            try:
                self._prove(connection)
            except CannotConnect:
                return
            except RemoteFailed as problem:
                if not isinstance(problem.__cause__, TimeoutError):
                    self._server.end(str(problem))
            else:
                self._server.start(connection.transport)
                self._remember("open")
                tell(ServerAgain(f"{self.session.host}:{self.session.remote_port}"))
        if self._server.why_ended:
            if not self.tunnel.waits_for_you:
                self._tell_end(tell)
        elif self._server.needs_proof or (self._is_wanted and not self._server.may_lead()):
            self._prove_beside(connection)

    def _follow_record(self) -> bool:
        """Go on with the server that `serve` has put on record meanwhile; whether it is another one."""
        now = sessions.latest(self.session)
        if (now.pid, now.process_start, now.remote_port, now.certificate_pem) == (
            self.session.pid,
            self.session.process_start,
            self.session.remote_port,
            self.session.certificate_pem,
        ):
            return False
        self._server.stop()
        self._server.end("the session has another server")
        self._server = self._watched(now)
        self._target.port = now.remote_port
        self.tunnel = replace(self.tunnel, remote_port=now.remote_port)
        return True

    def _tell_end(self, tell: Tell) -> None:
        self._remember("reconnecting", waits_for_you=self._server.why_ended)
        tell(ServerEnded(self._server.why_ended))

    def _prove_beside(self, connection: Connection) -> None:
        """Have the server prove itself while this thread looks after the way."""
        if self._proof is not None and self._proof.is_alive():
            return
        self._is_wanted = False
        server = self._server

        def work() -> None:
            try:
                self._prove(connection)
            except CannotConnect:
                pass
            except RemoteFailed as problem:
                if isinstance(problem.__cause__, TimeoutError):
                    self._want()
                else:
                    server.end(str(problem))

        self._proof = Thread(target=work, name="proof", daemon=True)
        self._proof.start()

    def _remember(self, state: Literal["open", "reconnecting"], waits_for_you: str = "") -> None:
        self.tunnel = replace(self.tunnel, state=state, waits_for_you=waits_for_you)
        sessions.remember_tunnel(self.session, self.tunnel)
