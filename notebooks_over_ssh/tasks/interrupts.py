"""Ctrl-C and SIGTERM raise an exception within a task, and end the program at once outside of one.

While Python imports modules or shuts down, nothing would catch the exception, or an exit handler would print it.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from notebooks_over_ssh.errors import Terminated
from notebooks_over_ssh.util.interrupted_wait import interrupts_kept

# The exit status with which a shell reports a process that a signal ended (POSIX.1-2017, Shell & Utilities, 2.8.2).
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


def exit_on_interrupt() -> None:
    """From now on, print `interrupted` and exit with INTERRUPTED on SIGINT, except in `raised_in_task`.

    Does nothing if SIGINT is ignored, as in a background job of a shell script, or has another handler.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)


@contextmanager
def raised_in_task() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGINT and Terminated at SIGTERM while the body runs."""
    before: dict[signal.Signals, Any] = {}
    try:
        if signal.getsignal(signal.SIGINT) is _exit:
            before[signal.SIGINT] = _exit
            signal.signal(signal.SIGINT, signal.default_int_handler)
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, _terminate)
        with interrupts_kept():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, frame: FrameType | None) -> None:
    # sys.stderr may be in the middle of a write, and a buffer must not be entered twice.
    os.write(2, b"\ninterrupted\n" if os.isatty(2) else b"interrupted\n")
    os._exit(INTERRUPTED)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
