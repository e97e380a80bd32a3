"""Two sshd, and the programs run against them; what a test starts ends with it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.openssh import network as networks
from tests.openssh.network import Network


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What every host of these tests has of Conda, with sshd ready to be run. Skips where OpenSSH is missing."""
    if not networks.sshd():
        pytest.skip("needs the program sshd (OpenSSH server)")
    for program in ("ssh", "ssh-keygen"):
        if shutil.which(program) is None:
            pytest.skip(f"needs the program {program} (OpenSSH client)")
    folder = tmp_path_factory.mktemp("packages")
    networks.prepare_packages(folder)
    with networks.confinement():
        yield folder


@pytest.fixture
def network(tmp_path: Path, packages: Path) -> Iterator[Network]:
    """A gateway and a host that are running, known and configured."""
    made = Network(tmp_path / "network", packages)
    try:
        made.start()
        yield made
    finally:
        made.close()
