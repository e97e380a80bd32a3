"""Hands the collection to `invoke`, so that both programs have the same tasks."""

from notebooks_over_ssh.tasks.interrupts import exit_on_interrupt
from notebooks_over_ssh.tasks.uncaught import explain_uncaught

exit_on_interrupt()  # before the imports below, which take a while
explain_uncaught()

from notebooks_over_ssh.collection import namespace

__all__ = ["namespace"]
