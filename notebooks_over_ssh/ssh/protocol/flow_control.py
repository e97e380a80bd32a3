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

MAX_WINDOW = 18 * 1024 * 1024
MAX_INITIAL_WINDOW = 4 * 1024 * 1024
ASSUMED_BANDWIDTH_BYTES_PER_S = 40_000_000
# A message for less costs more than it brings.
MIN_WINDOW_ADJUST = 128 * 1024
# What all windows of a transport may have grown by: that much may have to be kept where a reader stops.
TOTAL_GROWTH_BUDGET = 256 * 1024 * 1024
# How much more than the path holds may be on its way, so that what slows a transfer down is never the window.
TARGET_BDP_RATIO = 1.4
# From where on a window is so much too large that it shrinks.
SHRINK_BDP_RATIO = 2.2
# A window that is used up in so many round trips has no queue before it, and may grow at once.
FAST_GROWTH_BDP_RATIO = 1.5
MIN_ROUND_TRIP_S = 0.0005


class PathEstimate:
    """What the windows of one transport share: how long a round trip takes, and how much they may still grow."""

    def __init__(self, outer_window: "Window | None" = None) -> None:
        self.round_trip_s = 1.0
        """The shortest that was seen: what a packet waits behind others is no property of the path."""
        self.growth_left = TOTAL_GROWTH_BUDGET
        self._outer_window = outer_window

    @property
    def initial_window(self) -> int:
        """How large a new window should be at least: what a path of so long a round trip holds, if it is a good one."""
        return min(MAX_INITIAL_WINDOW, int(self.round_trip_s * ASSUMED_BANDWIDTH_BYTES_PER_S))

    @property
    def max_window(self) -> int:
        """How large a window may become. More than what carries it lets through would only pile up before that."""
        return MAX_WINDOW if self._outer_window is None else min(MAX_WINDOW, self._outer_window.size)

    def add_rtt_sample(self, round_trip_s: float) -> None:
        """A question was answered after so long."""
        self.round_trip_s = max(MIN_ROUND_TRIP_S, min(self.round_trip_s, round_trip_s))


class Window:
    """The window of one stream, in bytes."""

    def __init__(
        self, estimate: PathEstimate, initial_size: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._estimate = estimate
        self._clock = clock
        self._initial_size = initial_size
        self.size = initial_size
        self._receive_window = initial_size
        self._consumed = 0
        self._growth_factor = 0.0
        self._since = clock()
        self._consumed_since = 0
        self._closed = False
        # What was received is counted by one thread, what was taken by whichever delivered it.
        self._lock = threading.Lock()

    def on_received(self, size: int) -> None:
        """The peer has sent so much. Raises SSHException when that was more than it may."""
        with self._lock:
            self._receive_window -= size
        if self._receive_window < 0:
            raise paramiko.SSHException("it sent more than the window allows")

    def consume(self, size: int) -> int:
        """So much has gone to its reader; returns how much the peer may send in addition, 0 when that can wait."""
        with self._lock:
            self._consumed += size
            if self._closed or self._consumed < max(self.size // 16, min(MIN_WINDOW_ADJUST, self.size // 2)):
                return 0
            self._update_estimate(self._consumed)
            credit = self._consumed + self._next_adjustment(self._consumed)
            self._consumed = 0
            self._receive_window += credit
            return credit

    def close(self) -> None:
        """Let the others grow in its place."""
        with self._lock:
            self._estimate.growth_left += self.size - self._initial_size
            self.size = self._initial_size
            self._closed = True

    def _update_estimate(self, consumed: int) -> None:
        """See, each time that half of the window was used up, how long that took, and so what the path holds."""
        self._consumed_since += consumed
        if self._consumed_since * 2 < self.size:
            return
        now = self._clock()
        bdp = self._consumed_since * self._estimate.round_trip_s / max(now - self._since, 1e-6)
        slack = self._estimate.initial_window // 2
        if self.size < FAST_GROWTH_BDP_RATIO * bdp:
            self._growth_factor = 1.0
        elif self.size < TARGET_BDP_RATIO * bdp + slack:
            self._growth_factor = 0.1
        elif self.size > SHRINK_BDP_RATIO * bdp + 2 * slack:
            self._growth_factor = -0.5
        else:
            self._growth_factor = 0.0
        self._since, self._consumed_since = now, 0

    def _next_adjustment(self, consumed: int) -> int:
        adjustment = int(self._growth_factor * consumed)
        adjustment = max(adjustment, self._initial_size - self.size)
        adjustment = min(
            adjustment, max(0, self._estimate.max_window - self.size), max(0, self._estimate.growth_left)
        )
        self._estimate.growth_left -= adjustment
        self.size += adjustment
        return adjustment
