"""The task collection, for `fab`."""

import sys
from pathlib import Path

# Invoke's loader adds this folder to sys.path, but not the one that contains the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from notebooks_over_ssh.tasks.command_line import extend_program
from notebooks_over_ssh.tasks.interrupts import exit_on_interrupt
from notebooks_over_ssh.tasks.uncaught import explain_uncaught
from notebooks_over_ssh.util.bytecode import cache_bytecode

exit_on_interrupt()  # before the slow imports below
explain_uncaught()
extend_program()
cache_bytecode()

from notebooks_over_ssh.collection import namespace

__all__ = ["namespace"]
