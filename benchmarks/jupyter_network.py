"""A gateway and a host on this machine: OpenSSH's sshd twice, and Jupyter on the host."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.kit.sshd import Network, prepare_packages, privsep_dir


@contextlib.contextmanager
def jupyter_network() -> Iterator[Network]:
    """The network, which runs during the body."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, privsep_dir():
        packages = Path(folder) / "packages"
        packages.mkdir()
        prepare_packages(packages)
        network = Network(Path(folder) / "network", packages)
        with contextlib.closing(network):
            network.start()
            yield network
