"""How much a peer may send before it hears from us (RFC 4254, section 5.2): as much as the path holds, and little more.

A fixed window is too small for a long, fat path, where it limits a transfer to one window a round trip, and too
large for a short one, where it is a queue that everything else waits behind. So a window grows as long as it is used
up in the time of a round trip, and shrinks where that takes longer, which is where a queue builds up: TCP Vegas
(Brakmo and Peterson, 1995) does so with what it sends. A queue of megabytes does worse than wait in OpenSSH's sshd, which
copies all of it for each packet.
"""

import threading
import time
from collections.abc import Callable

import paramiko

LARGEST_WINDOW = 18 * 1024 * 1024
LARGEST_FIRST = 4 * 1024 * 1024
GOOD_RATE_BYTES_PER_S = 40_000_000
# A message for less costs more than it brings.
SMALLEST_CREDIT = 128 * 1024
# What all windows of a transport may have grown by: that much may have to be kept where a reader stops.
GROWTH_OF_ALL = 256 * 1024 * 1024
# How much more than the path holds may be on its way, so that what slows a transfer down is never the window.
SLACK_OF_PATH = 1.4
# From where on a window is so much too large that it shrinks.
TOO_MUCH = 2.2
# A window that is used up in so many round trips has no queue before it, and may grow at once.
NO_QUEUE = 1.5
SHORTEST_ROUND_TRIP_S = 0.0005


class Path:
    """What the windows of one transport share: how long a round trip takes, and how much they may still grow."""

    def __init__(self, carrier: "Window | None" = None) -> None:
        self.round_trip_s = 1.0
        """The shortest that was seen: what a packet waits behind others is no property of the path."""
        self.growth_left = GROWTH_OF_ALL
        self._carrier = carrier

    @property
    def first(self) -> int:
        """How large a new window should be at least: what a path of so long a round trip holds, if it is a good one."""
        return min(LARGEST_FIRST, int(self.round_trip_s * GOOD_RATE_BYTES_PER_S))

    @property
    def largest(self) -> int:
        """How large a window may become. More than what carries it lets through would only pile up before that."""
        return LARGEST_WINDOW if self._carrier is None else min(LARGEST_WINDOW, self._carrier.size)

    def saw(self, round_trip_s: float) -> None:
        """A question was answered after so long."""
        self.round_trip_s = max(SHORTEST_ROUND_TRIP_S, min(self.round_trip_s, round_trip_s))


class Window:
    """The window of one stream, in bytes."""

    def __init__(self, path: Path, first: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._first = first
        self.size = first
        self._open = first
        self._taken = 0
        self._growing = 0.0
        self._since = clock()
        self._taken_since = 0
        self._closed = False
        # What was received is counted by one thread, what was taken by whichever delivered it.
        self._lock = threading.Lock()

    def received(self, size: int) -> None:
        """The peer has sent so much. Raises SSHException when that was more than it may."""
        with self._lock:
            self._open -= size
        if self._open < 0:
            raise paramiko.SSHException("it sent more than the window allows")

    def taken(self, size: int) -> int:
        """So much has gone to its reader; returns how much the peer may send in addition, 0 when that can wait."""
        with self._lock:
            self._taken += size
            if self._closed or self._taken < max(self.size // 16, min(SMALLEST_CREDIT, self.size // 2)):
                return 0
            self._look(self._taken)
            credit = self._taken + self._change(self._taken)
            self._taken = 0
            self._open += credit
            return credit

    def close(self) -> None:
        """Let the others grow in its place."""
        with self._lock:
            self._path.growth_left += self.size - self._first
            self.size = self._first
            self._closed = True

    def _look(self, taken: int) -> None:
        """See, each time that half of the window was used up, how long that took, and so what the path holds."""
        self._taken_since += taken
        if self._taken_since * 2 < self.size:
            return
        now = self._clock()
        path = self._taken_since * self._path.round_trip_s / max(now - self._since, 1e-6)
        slack = self._path.first // 2
        if self.size < NO_QUEUE * path:
            self._growing = 1.0
        elif self.size < SLACK_OF_PATH * path + slack:
            self._growing = 0.1
        elif self.size > TOO_MUCH * path + 2 * slack:
            self._growing = -0.5
        else:
            self._growing = 0.0
        self._since, self._taken_since = now, 0

    def _change(self, taken: int) -> int:
        change = int(self._growing * taken)
        change = max(change, self._first - self.size)
        change = min(change, max(0, self._path.largest - self.size), max(0, self._path.growth_left))
        self._path.growth_left -= change
        self.size += change
        return change
