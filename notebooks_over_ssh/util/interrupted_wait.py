"""Ctrl-C or SIGTERM during a wait for a thread, which Python's threading can turn into another error."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Raise the KeyboardInterrupt of the body, also where a RuntimeError has replaced it.

    A signal handler's exception may come in Condition.wait, which Thread.start calls, between the release of the lock
    and the `try` that acquires it again. Then the end of the `with` statement fails with "release unlocked lock".
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise
