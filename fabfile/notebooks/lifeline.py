"""Keeps a tunnel alive: when the way to the host is lost it is found again, and the local ports stay what they are.

No attempt to log in is made that a person did not make: where a password or a code is wanted that is not known,
the tunnel waits for its user.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Literal

from msgspec.structs import replace

from fabfile.errors import AuthenticationRefused, CannotConnect, HostKeyRefused, RemoteFailed
from fabfile.notebooks import session as sessions
from fabfile.notebooks.port_access import prove_through
from fabfile.notebooks.proof import PROOF_TIMEOUT_S
from fabfile.notebooks.reach import reach_session
from fabfile.notebooks.session import Session, Tunnel
from fabfile.settings import Settings
from fabfile.ssh import connection as ssh
from fabfile.ssh.asking import Asking
from fabfile.ssh.connection import Connection
from fabfile.ssh.forwarding import Forwarder
from fabfile.ssh.liveness import Watch
from fabfile.ssh.wire.promptness import have_it_sent_at_once

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0


@dataclass(frozen=True)
class Lost:
    """The way was lost, and is looked for."""

    what: str

    def __str__(self) -> str:
        return f"{self.what}; reconnecting, the address stays"


@dataclass(frozen=True)
class WaitsForYou:
    """Only a person can log in again."""

    why: str

    def __str__(self) -> str:
        return f"waits for you: {self.why}"


@dataclass(frozen=True)
class Back:
    """The way is there again."""

    gone_s: float

    def __str__(self) -> str:
        return f"reconnected after {self.gone_s:.1f} s"


News = Lost | WaitsForYou | Back
Tell = Callable[[News], None]


class Lifeline:
    """The Connection that carries the tunnel of this process, and the next one when it is lost."""

    def __init__(self, session: Session, settings: Settings, tunnel: Tunnel, forwarder: Forwarder) -> None:
        self.session = session
        self.tunnel = tunnel
        self._settings = settings
        self._forwarder = forwarder
        self._connection: Connection | None = None
        self.clock_ahead: float | None = None

    def connect(self, asking: Asking) -> Connection:
        """Find the way, and lead the forwarder through it once the server has proved itself. Raises a Problem."""
        connection = reach_session(self.session, self._settings, asking)
        try:
            refusal, self.clock_ahead = prove_through(
                self.session, connection, self._forwarder, PROOF_TIMEOUT_S
            )
        except RemoteFailed as problem:
            if connection.is_connected:
                raise
            raise CannotConnect(f"the connection to {self.session.host} was lost again") from problem
        self._connection = connection
        self.tunnel = replace(self.tunnel, forwarding_refusal=refusal)
        self._forwarder.lead_through(connection.port_transport)
        have_it_sent_at_once(connection.transport)
        return connection

    def hold(self, asking: Asking, tell: Tell) -> None:
        """Stay until something is raised here, as Ctrl-C does, and find the way again whenever it is lost.

        Raises a Problem when there is nothing any more that the tunnel could lead to.
        """
        while True:
            assert self._connection is not None, "connect comes first"
            what = Watch(self._connection).until_lost()
            lost_at = time.time()
            self._remember("reconnecting")
            tell(Lost(what))
            self._forwarder.hold()
            self._find_again(asking, tell)
            self._remember("open")
            tell(Back(time.time() - lost_at))

    def _find_again(self, asking: Asking, tell: Tell) -> None:
        pause_s = FIRST_PAUSE_S
        refused = ""
        ssh.close_all()
        while True:
            if refused or asking.needs_person:
                self._wait_for_person(asking, tell, refused or "logging in again needs you")
            refused = ""
            if not ssh.may_come_back(self.session.gateway):
                raise RemoteFailed(
                    "the practice network has ended, and the tunnel with it", hint="start both again: up"
                )
            try:
                self.connect(asking)
                return
            except (AuthenticationRefused, HostKeyRefused) as problem:
                refused = str(problem)
            except CannotConnect:
                pass
            except RemoteFailed as problem:
                # A server that is slow to answer may still be there; one that refuses, or is another, is not.
                if not isinstance(problem.__cause__, TimeoutError):
                    raise
            ssh.close_all()
            # Not all that lost their way at the same moment shall come back at the same moment.
            Event().wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 # it hides nothing
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    def _wait_for_person(self, asking: Asking, tell: Tell, why: str) -> None:
        """Return once a person wants to log in; where there is nobody, wait until the tunnel is ended or replaced."""
        self._remember("reconnecting", waits_for_you=why)
        tell(WaitsForYou(why))
        if asking.line(f"press enter to log in to {self.session.host} again:") is None:
            while True:
                Event().wait()
        self._remember("reconnecting")

    def _remember(self, state: Literal["open", "reconnecting"], waits_for_you: str = "") -> None:
        self.tunnel = replace(self.tunnel, state=state, waits_for_you=waits_for_you)
        sessions.remember_tunnel(self.session, self.tunnel)
