"""Whether a connection still leads anywhere: the far end is asked, and its answer is timed.

TCP itself notices a path that died only when it has something to send, and then after a quarter of an hour.
"""

import socket
import time
from dataclasses import dataclass, field

from notebooks_over_ssh.ssh.connection import Connection, hops

# Who is silent for so long is asked, and has so long to answer.
SILENCE_S = 5.0
PATIENCE_S = 8.0
# A machine that slept, or a process that was stopped, finds that more time went by than it waited.
OVERSLEPT_S = 3.0
PATIENCE_AFTER_SLEEP_S = 4.0

PROBE_TIMEOUT_S = 1.0
# What was sent on a path that then died is sent again at growing intervals: a new socket may get there earlier.
PROBE_LIFE_S = 5.0


@dataclass
class Watch:
    """Looks after one connection; wants to be asked about once a second."""

    connection: Connection
    _looked_at: float = field(default_factory=time.time)
    _asked_at: float | None = None
    _patience_s: float = PATIENCE_S

    @property
    def has_ended(self) -> bool:
        """Whether the connection has ended for good."""
        return not self.connection.is_connected

    @property
    def heard_at(self) -> float:
        """When the host was heard last, by the monotonic clock."""
        heard_at: float = self.connection.transport.packetizer.heard_at
        return heard_at

    def look(self) -> str:
        """What is wrong with the connection now, for the user to read; "" where it is not known that anything is."""
        if self.has_ended:
            return f"the connection to {self.connection.label} was lost"
        # The clock on the wall goes on while the machine sleeps, where the other one may stop.
        before, self._looked_at = self._looked_at, time.time()
        if abs(self._looked_at - before) > OVERSLEPT_S:
            self._ask(PATIENCE_AFTER_SLEEP_S)
        return f"{self.connection.label} does not answer any more" if self._is_silent() else ""

    def _is_silent(self) -> bool:
        now = time.monotonic()
        if self._asked_at is not None:
            if self.heard_at > self._asked_at:
                self._asked_at = None
            return self._asked_at is not None and now - self._asked_at > self._patience_s
        if now - self.heard_at > (self.connection.alive_interval_s or SILENCE_S):
            self._ask(PATIENCE_S)
        return False

    def _ask(self, patience_s: float) -> None:
        self._asked_at = time.monotonic()
        self._patience_s = patience_s
        self.connection.transport.ask_for_a_sign()


class Probe:
    """Tries whether an SSH server answers at the first hop of a way: it speaks first (RFC 4253, section 4.2)."""

    def __init__(self, connection: Connection) -> None:
        first = hops(connection)[0]
        self.can_be_tried = not first.command
        self._address = (first.host, first.port)
        self._socket: socket.socket | None = None
        self._began = 0.0

    def answers(self) -> bool:
        """Whether it does, within about a second."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, timeout=PROBE_TIMEOUT_S)
                self._began = time.monotonic()
            self._socket.settimeout(PROBE_TIMEOUT_S)
            does = bool(self._socket.recv(1))
        except TimeoutError:
            # A server that is stopped has a system that goes on to connect: one connection at a time is enough.
            if self._socket is not None and time.monotonic() - self._began > PROBE_LIFE_S:
                self.close()
            return False
        except OSError:
            does = False
        self.close()
        return does

    def close(self) -> None:
        """Leave nothing open."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
