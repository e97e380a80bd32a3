"""Fixtures that several folders use: networks of real servers, and their clients."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.kit import pam_sshd as machines
from tests.kit import simulated_jupyter
from tests.kit import sshd as networks
from tests.kit.mitm_sshd import AsyncioThread
from tests.kit.netns import NetnsNetwork, three_namespaces
from tests.kit.pam_sshd import PamNetwork
from tests.kit.proxied_tunnel import ProxiedNetwork
from tests.kit.ssh_client import Client
from tests.kit.sshd import Network


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The Conda installation of every host. Skips where OpenSSH is missing."""
    with _packages(tmp_path_factory) as folder:
        yield folder


@pytest.fixture(scope="session")
def simulated_packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """As `packages`, with a small server in place of Jupyter.

    A module whose subject is the way to the server returns it from a fixture `packages` of its own.
    """
    with _packages(tmp_path_factory) as folder:
        simulated_jupyter.install(folder / "miniconda3" / "envs" / "mlp")
        yield folder


@contextmanager
def _packages(factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not networks.sshd():
        pytest.skip("needs the program sshd (OpenSSH server)")
    for program in ("ssh", "ssh-keygen"):
        if shutil.which(program) is None:
            pytest.skip(f"needs the program {program} (OpenSSH client)")
    folder = factory.mktemp("packages")
    networks.prepare_packages(folder)
    with networks.privsep_dir():
        yield folder


@pytest.fixture
def network(tmp_path: Path, packages: Path) -> Iterator[Network]:
    """A running gateway and host, with known keys and settings that lead to them."""
    with closing(Network(tmp_path / "network", packages)) as new_network:
        new_network.start()
        yield new_network


@pytest.fixture
def netns_network(tmp_path: Path, packages: Path) -> Iterator[NetnsNetwork]:
    """As `network`, with client, gateway and host in a network namespace each."""
    with (
        three_namespaces() as machines,
        closing(NetnsNetwork(tmp_path / "network", packages, machines)) as new_network,
    ):
        new_network.start()
        yield new_network


@pytest.fixture
def client(tmp_path: Path, packages: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client in this process, with an empty home folder and no agent."""
    with closing(Client(tmp_path / "client", monkeypatch)) as created:
        yield created


@pytest.fixture(scope="session")
def loop() -> Iterator[AsyncioThread]:
    """An asyncio event loop in a thread, for the servers of the toolkit."""
    with closing(AsyncioThread()) as created:
        yield created


@pytest.fixture
def pam_network(tmp_path: Path, packages: Path) -> Iterator[PamNetwork]:
    """Two machines with PAM, not yet started."""
    machines.skip_unless_supported()
    with closing(PamNetwork(tmp_path / "pam_network", packages)) as new_network:
        yield new_network


@pytest.fixture
def proxied(network: Network, loop: AsyncioThread) -> Iterator[ProxiedNetwork]:
    """A running gateway and host, known and configured, with a TCP proxy before each."""
    with closing(ProxiedNetwork(network, loop)) as created:
        yield created
