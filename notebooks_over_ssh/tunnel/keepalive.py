"""Whether a connection still leads anywhere: the far end is asked, and its answer is timed.

TCP itself notices a path that died only when it has something to send, and then after a quarter of an hour.
"""

import socket
import time
from dataclasses import dataclass, field

from notebooks_over_ssh.ssh.connection import Connection, hops

# Who is silent for so long is asked, and has so long to answer.
KEEPALIVE_INTERVAL_S = 5.0
KEEPALIVE_TIMEOUT_S = 8.0
# A machine that slept, or a process that was stopped, finds that more time went by than it waited.
SUSPEND_THRESHOLD_S = 3.0
RESUME_TIMEOUT_S = 4.0

PROBE_TIMEOUT_S = 1.0
# What was sent on a path that then died is sent again at growing intervals: a new socket may get there earlier.
PROBE_MAX_AGE_S = 5.0


@dataclass
class KeepaliveMonitor:
    """Looks after one connection; wants to be asked about once a second."""

    connection: Connection
    _last_check_at: float = field(default_factory=time.time)
    _keepalive_sent_at: float | None = None
    _timeout_s: float = KEEPALIVE_TIMEOUT_S

    @property
    def has_ended(self) -> bool:
        """Whether the connection has ended for good."""
        return not self.connection.is_connected

    @property
    def last_received_at(self) -> float:
        """When the host was heard last, by the monotonic clock."""
        last_received_at: float = self.connection.transport.packetizer.last_received_at
        return last_received_at

    def check(self) -> str:
        """What is wrong with the connection now, for the user to read; "" where it is not known that anything is."""
        if self.has_ended:
            return f"the connection to {self.connection.label} was lost"
        # The clock on the wall goes on while the machine sleeps, where the other one may stop.
        previous, self._last_check_at = self._last_check_at, time.time()
        if abs(self._last_check_at - previous) > SUSPEND_THRESHOLD_S:
            self._send_keepalive(RESUME_TIMEOUT_S)
        return f"{self.connection.label} does not answer any more" if self._timed_out() else ""

    def _timed_out(self) -> bool:
        now = time.monotonic()
        if self._keepalive_sent_at is not None:
            if self.last_received_at > self._keepalive_sent_at:
                self._keepalive_sent_at = None
            return self._keepalive_sent_at is not None and now - self._keepalive_sent_at > self._timeout_s
        if now - self.last_received_at > (self.connection.alive_interval_s or KEEPALIVE_INTERVAL_S):
            self._send_keepalive(KEEPALIVE_TIMEOUT_S)
        return False

    def _send_keepalive(self, timeout_s: float) -> None:
        self._keepalive_sent_at = time.monotonic()
        self._timeout_s = timeout_s
        self.connection.transport.send_keepalive()


class Probe:
    """Tries whether an SSH server answers at the first hop of a way: it speaks first (RFC 4253, section 4.2)."""

    def __init__(self, connection: Connection) -> None:
        first = hops(connection)[0]
        self.is_possible = not first.command
        self._address = (first.host, first.port)
        self._socket: socket.socket | None = None
        self._opened_at = 0.0

    def responds(self) -> bool:
        """Whether it does, within about a second."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, timeout=PROBE_TIMEOUT_S)
                self._opened_at = time.monotonic()
            self._socket.settimeout(PROBE_TIMEOUT_S)
            responded = bool(self._socket.recv(1))
        except TimeoutError:
            # A server that is stopped has a system that goes on to connect: one connection at a time is enough.
            if self._socket is not None and time.monotonic() - self._opened_at > PROBE_MAX_AGE_S:
                self.close()
            return False
        except OSError:
            responded = False
        self.close()
        return responded

    def close(self) -> None:
        """Leave nothing open."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
