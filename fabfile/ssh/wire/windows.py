"""How much a peer may send before it hears from us (RFC 4254, section 5.2): little, until that is what slows it down.

A fixed window is too small for a long, fat path, where it limits a transfer to one window a round trip, and too
large for a short one, where it is a queue that everything else has to wait behind.
"""

import threading
import time
from collections.abc import Callable

import paramiko

FIRST_WINDOW = 1024 * 1024
LARGEST_WINDOW = 64 * 1024 * 1024
# What all windows of a transport may have grown by: that much may have to be kept where a reader stops.
GROWTH_OF_ALL = 256 * 1024 * 1024
# A window that is used up within so many round trips is what slows the transfer down.
LIMITING_ROUND_TRIPS = 2
SHORTEST_ROUND_TRIP_S = 0.0005


class Path:
    """What the windows of one transport share: how long a round trip takes, and how much they may still grow."""

    def __init__(self) -> None:
        self.round_trip_s = 1.0
        """The shortest that was seen: what a packet waits behind others is no property of the path."""
        self.growth_left = GROWTH_OF_ALL

    def saw(self, round_trip_s: float) -> None:
        """A question was answered after so long."""
        self.round_trip_s = max(SHORTEST_ROUND_TRIP_S, min(self.round_trip_s, round_trip_s))


class Window:
    """The window of one stream, in bytes."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self.size = FIRST_WINDOW
        self._open = FIRST_WINDOW
        self._taken = 0
        self._since: float | None = None
        self._taken_since = 0
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
            if self._taken * 4 < self.size:
                return 0
            credit = self._taken + self._growth(self._taken)
            self._taken = 0
            self._open += credit
            return credit

    def close(self) -> None:
        """Let the others grow in its place."""
        with self._lock:
            self._path.growth_left += self.size - FIRST_WINDOW
            self.size = FIRST_WINDOW

    def _growth(self, taken: int) -> int:
        now = self._clock()
        self._taken_since += taken
        limiting_s = LIMITING_ROUND_TRIPS * self._path.round_trip_s
        if self._since is None or now - self._since > limiting_s:
            self._since, self._taken_since = now, 0
            return 0
        if self._taken_since < self.size:
            return 0
        growth = min(self.size, LARGEST_WINDOW - self.size, self._path.growth_left)
        self._path.growth_left -= growth
        self.size += growth
        self._since, self._taken_since = now, 0
        return growth
