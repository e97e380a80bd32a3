"""Ctrl-C during a wait for a thread."""

import threading

import pytest

from notebooks_over_ssh.errors import Terminated
from notebooks_over_ssh.util.interrupted_wait import interrupts_kept


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, Terminated])
def test_lock_released_twice(interrupt: type[KeyboardInterrupt], monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal just after a wait has released its lock interrupts the program, and is not a RuntimeError."""
    condition = threading.Condition()

    def release_and_interrupt() -> None:
        condition.release()
        raise interrupt

    monkeypatch.setattr(condition, "_release_save", release_and_interrupt)
    with pytest.raises(RuntimeError, match="release un-?acquired|release unlocked"), condition:
        condition.wait()
    with pytest.raises(interrupt), interrupts_kept(), condition:
        condition.wait()


def test_other_error() -> None:
    """A RuntimeError for another reason stays."""
    with pytest.raises(RuntimeError, match="another"), interrupts_kept():
        raise RuntimeError("another")
