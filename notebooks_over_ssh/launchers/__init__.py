"""How the server comes to run: as a process of the host, or as something that a scheduler starts.

Nothing above this package depends on which it is: see `Launcher` (base.py).
"""

from notebooks_over_ssh.launchers.base import Launcher, LauncherName, Scheduler
from notebooks_over_ssh.launchers.host import HostLauncher
from notebooks_over_ssh.launchers.slurm import SlurmLauncher

SCHEDULERS: dict[LauncherName, Scheduler] = {"slurm": SlurmLauncher()}
LAUNCHERS: dict[LauncherName, Launcher] = {"host": HostLauncher(), **SCHEDULERS}
"""The launchers, by the name in a session's record."""
DEFAULT_LAUNCHER: LauncherName = "host"
DEFAULT_SCHEDULER: LauncherName = "slurm"
"""The one that is asked about a cluster where the settings name none."""
