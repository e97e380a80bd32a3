"""The commands that a process with a login starts ahead on the host, where they wait for their input."""

import psutil

from notebooks_over_ssh.ssh.bootstrap import BOOTSTRAP
from tests.kit.leaks import command_line

_COMMAND_LINE = ["/bin/sh", "-c", BOOTSTRAP.removeprefix("exec /bin/sh -c ").strip("'")]


def waits_for_input(process: psutil.Process) -> bool:
    """Whether the process is such a command."""
    return command_line(process) == _COMMAND_LINE
