"""File system layout of the sandbox."""

from pathlib import Path

import platformdirs

HOSTS = ("ashbury", "bonnington", "calder")
POOL = "student.compute"
LOGIN_NODE = "login.cluster"
"""A host that runs no jobs itself, only the programs of the toy in place of Slurm."""
PREFERRED_PORT = 2222

# Environment variable of every process in the sandbox, with its folder as the value; `stop` finds the processes by it.
MARKER = "NOTEBOOKS_SANDBOX"


class SandboxPaths:
    """The folder of a sandbox and the files in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start_lock = folder / "start.lock"
        self.daemon_lock = folder / "daemon.lock"
        self.state_file = folder / "network.json"
        self.log = folder / "daemon.log"
        self.known_hosts = folder / "known_hosts"
        self.client_key = folder / "client_key"
        self.gateway_key = folder / "gateway_key"
        self.home = folder / "home"
        self.toy_slurm = folder / "toy_slurm"

    def host_key(self, host: str) -> Path:
        """The private host key of a compute host."""
        return self.folder / "hosts" / host / "host_key"

    def host_programs(self, host: str) -> Path:
        """The folder of a compute host's own programs; the first entry of its PATH."""
        return self.folder / "hosts" / host / "bin"


def default_paths() -> SandboxPaths:
    """The sandbox of this user, below XDG_DATA_HOME (XDG Base Directory Specification)."""
    return SandboxPaths(platformdirs.user_data_path("notebooks-over-ssh") / "sandbox")
