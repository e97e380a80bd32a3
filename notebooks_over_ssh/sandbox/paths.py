"""Where the practice network keeps its files, and how private ones are written."""

from pathlib import Path

import platformdirs

HOSTS = ("ashbury", "bonnington", "calder")
POOL = "student.compute"
PREFERRED_PORT = 2222

# Every process of the practice network carries this variable with the folder as its value; `stop` finds them by it.
MARKER = "NOTEBOOKS_SANDBOX"


class SandboxPaths:
    """The folder of one practice network and the files in it."""

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

    def host_key(self, host: str) -> Path:
        """The private host key of a compute host."""
        return self.folder / "hosts" / host / "host_key"

    def host_programs(self, host: str) -> Path:
        """The folder of programs that only this compute host has; it comes first on its PATH."""
        return self.folder / "hosts" / host / "bin"


def default_paths() -> SandboxPaths:
    """The one practice network of this user; XDG_DATA_HOME moves it (XDG Base Directory Specification)."""
    return SandboxPaths(platformdirs.user_data_path("notebooks-over-ssh") / "sandbox")
