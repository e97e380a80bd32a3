"""The program `notebooks`: the same tasks as `fab` has, in any folder."""

from notebooks_over_ssh.tasks.interrupts import exit_on_interrupt
from notebooks_over_ssh.tasks.uncaught import explain_uncaught


def main() -> None:
    """Run the tasks that the command line names, and exit with their exit code."""
    exit_on_interrupt()  # before the slow imports below
    explain_uncaught()
    from notebooks_over_ssh.program import program

    program.run()
