"""Detects a connection that was lost: sends keepalives and times the replies.

TCP notices a lost path only when it has data to send, and then after about 15 minutes (tcp_retries2 in tcp(7)).
"""

import socket
import time
from dataclasses import dataclass, field

from notebooks_over_ssh.ssh.connection import Connection, hops

# Send a keepalive after 5 s without traffic; give up 8 s later.
KEEPALIVE_INTERVAL_S = 5.0
KEEPALIVE_TIMEOUT_S = 8.0
# A gap between two checks that is longer means that the machine slept or the process was stopped.
SUSPEND_THRESHOLD_S = 3.0
RESUME_TIMEOUT_S = 4.0

PROBE_TIMEOUT_S = 1.0
# TCP retransmits at growing intervals, so after an outage a new socket may connect before an old one gets an answer.
PROBE_MAX_AGE_S = 5.0


@dataclass
class KeepaliveMonitor:
    """Monitors one connection. Call `check` about once a second."""

    connection: Connection
    _last_check_at: float = field(default_factory=time.time)
    _keepalive_sent_at: float | None = None
    _timeout_s: float = KEEPALIVE_TIMEOUT_S

    @property
    def has_ended(self) -> bool:
        """Whether the connection has ended."""
        return not self.connection.is_connected

    @property
    def last_received_at(self) -> float:
        """When the last packet was received, by time.monotonic()."""
        last_received_at: float = self.connection.transport.packetizer.last_received_at
        return last_received_at

    def check(self) -> str:
        """Why the connection counts as lost, for the user to read; "" if it does not."""
        if self.has_ended:
            return f"the connection to {self.connection.label} was lost"
        # The wall clock: the monotonic clock may stop while the machine sleeps.
        previous, self._last_check_at = self._last_check_at, time.time()
        if abs(self._last_check_at - previous) > SUSPEND_THRESHOLD_S:
            self._send_keepalive(RESUME_TIMEOUT_S)
        return f"{self.connection.label} has stopped answering" if self._timed_out() else ""

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
    """Tests whether an SSH server answers at the first hop: a server sends its version string unasked (RFC 4253, section 4.2)."""

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
            # The kernel goes on accepting for a stopped server, so keep one connection instead of opening one a probe.
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
