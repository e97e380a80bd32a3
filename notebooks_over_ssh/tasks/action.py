"""What a task does, once it has read its flags and settings."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """What a task returns, for the decorator to run: a task itself only reads its flags and settings."""

    run: Callable[[], object]
    plan: Callable[[], object] | None
    """Prints what `run` would do, and neither connects nor changes anything; `--dry` calls it in place of `run`. None
    if `run` never changes or asks anything, so that `--dry` makes no difference."""
    once: bool = False
    """Whether it is the same for every host, so that `-H a,b` runs it once."""
    foreground: bool = False
    """Whether it runs until Ctrl-C, so that `-H a,b` would never get to the second host."""
