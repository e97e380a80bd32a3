"""A Fabric executor that refuses a command for a host: `fab -H HOST -- COMMAND`.

For such a command line Fabric reads no file of the project, connects without this package, and accepts any host key.
It does read the user's own `~/.fabric.yaml`, which can name this class as `tasks.executor_class`.
"""

import sys
from typing import Any

from fabric.executor import Executor as FabricExecutor
from invoke.exceptions import Exit

from notebooks_over_ssh.config.cli import refuse_remainder
from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.tasks.reporting import report


class Executor(FabricExecutor):  # type: ignore[misc, unused-ignore] # Fabric has no types
    """Runs tasks as Fabric does, and no command on a host."""

    def execute(self, *tasks: Any) -> Any:
        """Run the tasks. Raises Exit for a command after `--`, before anything connects."""
        try:
            refuse_remainder(sys.argv)
        except ConfigError as error:
            raise Exit(code=report(error)) from error
        return super().execute(*tasks)
