"""Detects a connection that was lost: sends keepalives and times the replies.

TCP notices a lost path only when it has data to send, and then after about 15 minutes (tcp_retries2 in tcp(7)).
"""

import math
import socket
import time

from notebooks_over_ssh.ssh.connection import Connection, hops

# Send a keepalive after 5 s without traffic; give up 8 s later.
KEEPALIVE_INTERVAL_S = 5.0
KEEPALIVE_TIMEOUT_S = 8.0
# A gap between two checks that is longer means that the machine slept or the process was stopped.
SUSPEND_THRESHOLD_S = 3.0
RESUME_TIMEOUT_S = 4.0
# A longer outage counts as one of this length.
MAX_OUTAGE_S = 60.0
GRACE_S = 5.0

PROBE_TIMEOUT_S = 1.0
# TCP retransmits at growing intervals, so after an outage a new socket may connect before an old one gets an answer.
PROBE_MAX_AGE_S = 5.0


class KeepaliveMonitor:
    """Monitors one connection. Call `check` about once a second."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._last_check_at = time.time()
        self._keepalive_sent_at: float | None = None
        self._timeout_s = KEEPALIVE_TIMEOUT_S
        self._silent_since = math.inf
        self._kept_until = -math.inf

    @property
    def has_ended(self) -> bool:
        """Whether the connection has ended."""
        return not self.connection.is_connected

    @property
    def last_received_at(self) -> float:
        """When the last packet was received, by time.monotonic()."""
        last_received_at: float = self.connection.transport.packetizer.last_received_at
        return last_received_at

    @property
    def lost_at(self) -> float:
        """When the unanswered keepalive times out, by time.monotonic(); math.inf if all were answered."""
        if self._keepalive_sent_at is None or self.last_received_at > self._keepalive_sent_at:
            return math.inf
        return self._keepalive_sent_at + self._timeout_s

    @property
    def deadline(self) -> float:
        """Until when TCP may still deliver, by time.monotonic(); math.inf if all keepalives were answered."""
        lost_at = self.lost_at
        return (
            math.inf
            if lost_at == math.inf
            else max(self._kept_until, _delivery_deadline(self._silent_since, lost_at))
        )

    def check(self) -> str:
        """Why the connection counts as lost, for the user to read; "" if it does not."""
        if self.has_ended:
            return f"the connection to {self.connection.label} was lost"
        if self.lost_at == math.inf:
            self._keepalive_sent_at, self._silent_since = None, math.inf
        now = time.monotonic()
        gap_s = self._reset_check_timer()
        if gap_s > SUSPEND_THRESHOLD_S:
            self._send_keepalive(RESUME_TIMEOUT_S, min(self.last_received_at, now - gap_s))
        elif self._keepalive_sent_at is None and now - self.last_received_at > (
            self.connection.alive_interval_s or KEEPALIVE_INTERVAL_S
        ):
            self._send_keepalive(KEEPALIVE_TIMEOUT_S, self.last_received_at)
        return f"{self.connection.label} has stopped answering" if now > self.lost_at else ""

    def path_restored(self) -> None:
        """Record that the outage is over, whether this connection answers or not; it was not checked meanwhile."""
        now = time.monotonic()
        silent_since = min(self._silent_since, now - self._reset_check_timer())
        if self._keepalive_sent_at is not None:
            self._kept_until = max(self._kept_until, _delivery_deadline(silent_since, now))

    def _reset_check_timer(self) -> float:
        """The seconds since the last check by the wall clock: the monotonic clock may stop while the machine sleeps."""
        previous, self._last_check_at = self._last_check_at, time.time()
        return abs(self._last_check_at - previous)

    def _send_keepalive(self, timeout_s: float, silent_since: float) -> None:
        self._keepalive_sent_at = time.monotonic()
        self._silent_since = min(self._silent_since, silent_since)
        self._timeout_s = timeout_s
        self.connection.transport.send_keepalive()


def _delivery_deadline(silent_since: float, now: float) -> float:
    """Until when TCP may deliver what was sent in an outage that ended now.

    It retransmits at intervals that double (RFC 6298, section 5.5), so the next time is as far away as the outage was
    long.
    """
    return now + min(now - silent_since, MAX_OUTAGE_S) + GRACE_S


class Probe:
    """Tests whether an SSH server answers at the first hop, by its version string (RFC 4253, section 4.2)."""

    def __init__(self, connection: Connection) -> None:
        first = hops(connection)[0]
        self.is_possible = not first.command
        self._address = (first.host, first.port)
        self._socket: socket.socket | None = None
        self._opened_at = 0.0

    def responds(self) -> bool:
        """Whether it answers within about a second."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, timeout=PROBE_TIMEOUT_S)
                self._opened_at = time.monotonic()
            self._socket.settimeout(PROBE_TIMEOUT_S)
            responded = bool(self._socket.recv(1))
        except TimeoutError:
            # The kernel keeps accepting for a stopped server, so keep one connection instead of opening one a probe.
            if self._socket is not None and time.monotonic() - self._opened_at > PROBE_MAX_AGE_S:
                self.close()
            return False
        except OSError:
            responded = False
        self.close()
        return responded

    def close(self) -> None:
        """Close the connection, if one is open."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
