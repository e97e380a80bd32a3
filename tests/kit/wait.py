"""Waits for conditions. A wait that is long enough for a loaded machine costs nothing on a fast one."""

import time
from collections.abc import Callable
from threading import Event

TIMEOUT_S = 60.0
POLL_INTERVAL_S = 0.01


def wait_until(
    condition: Callable[[], object],
    description: str,
    timeout_s: float = TIMEOUT_S,
    interval_s: float = POLL_INTERVAL_S,
) -> None:
    """Wait until the condition is true. Raises AssertionError with the description after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        started_at = time.monotonic()
        if condition():
            return
        checked_at = time.monotonic()
        if checked_at > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {description}")
        # A condition that starts a program, or reads all processes, must not slow down what it waits for.
        Event().wait(max(interval_s, 3 * (checked_at - started_at)))


def elapsed(start: float, seconds: float) -> Callable[[], bool]:
    """A condition: that many seconds have passed since `start` (time.monotonic), for states that must last."""
    return lambda: time.monotonic() - start >= seconds
