"""Receive windows (RFC 4254, section 5.2) that follow the bandwidth-delay product of the path.

A fixed window limits a transfer on a long, fast path to one window per round trip, and on a short path it is a queue
that delays everything behind it. So a window grows while the peer uses it up within a round trip, and shrinks when that
takes longer, which is the sign of a queue: the idea of TCP Vegas (Brakmo and Peterson, 1995), applied by the receiver.
A queue of megabytes is worse than a delay in OpenSSH's sshd, which moves all of it for each packet.
"""

import threading
import time
from collections.abc import Callable

import paramiko

MAX_WINDOW = 18 * 1024 * 1024
MAX_INITIAL_WINDOW = 4 * 1024 * 1024
ASSUMED_BANDWIDTH_BYTES_PER_S = 40_000_000
# No SSH_MSG_CHANNEL_WINDOW_ADJUST for less than this, in bytes.
MIN_WINDOW_ADJUST = 128 * 1024
# How much all windows of a transport together may grow, in bytes: the bound of what is buffered for slow readers.
TOTAL_GROWTH_BUDGET = 256 * 1024 * 1024
# Ratios of a window to the measured bandwidth-delay product (BDP): a window grows slowly up to the target, so that it
# never limits the transfer; below the ratio of fast growth no queue has formed, and it doubles; above the last it
# shrinks.
TARGET_BDP_RATIO = 1.4
SHRINK_BDP_RATIO = 2.2
FAST_GROWTH_BDP_RATIO = 1.5
MIN_ROUND_TRIP_S = 0.0005


class PathEstimate:
    """Shared by the windows of one transport: the round-trip time of the path, and how much they may still grow."""

    def __init__(self, outer_window: "Window | None" = None) -> None:
        self.round_trip_s = 1.0
        """The minimum of all samples, in seconds: longer ones include queueing delay."""
        self.growth_left = TOTAL_GROWTH_BUDGET
        self._outer_window = outer_window

    @property
    def initial_window(self) -> int:
        """The size of a new window, in bytes: the BDP at ASSUMED_BANDWIDTH_BYTES_PER_S."""
        return min(MAX_INITIAL_WINDOW, int(self.round_trip_s * ASSUMED_BANDWIDTH_BYTES_PER_S))

    @property
    def max_window(self) -> int:
        """The maximum size of a window, in bytes: that of the jump channel's window, beyond which data would queue."""
        return MAX_WINDOW if self._outer_window is None else min(MAX_WINDOW, self._outer_window.size)

    def add_rtt_sample(self, round_trip_s: float) -> None:
        """Add a measured round-trip time, in seconds."""
        self.round_trip_s = max(MIN_ROUND_TRIP_S, min(self.round_trip_s, round_trip_s))


class Window:
    """The receive window of one channel, in bytes."""

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
        # `on_received` and `consume` are called by different threads.
        self._lock = threading.Lock()

    def on_received(self, size: int) -> None:
        """Count received bytes. Raises SSHException if they exceed the window."""
        with self._lock:
            self._receive_window -= size
        if self._receive_window < 0:
            raise paramiko.SSHException("the server sent more than the window allows")

    def consume(self, size: int) -> int:
        """Count processed bytes; returns by how much to adjust the peer's window now, 0 for not yet."""
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
        """Return the growth to the budget of the transport."""
        with self._lock:
            self._estimate.growth_left += self.size - self._initial_size
            self.size = self._initial_size
            self._closed = True

    def _update_estimate(self, consumed: int) -> None:
        """After each half window, estimate the BDP from the time it took, and choose how to grow."""
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
