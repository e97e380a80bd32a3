"""The task collection, for `invoke`."""

from notebooks_over_ssh.tasks.interrupts import exit_on_interrupt
from notebooks_over_ssh.tasks.uncaught import explain_uncaught

exit_on_interrupt()  # before the slow imports below
explain_uncaught()

from notebooks_over_ssh.collection import namespace

__all__ = ["namespace"]
