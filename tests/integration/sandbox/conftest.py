"""A practice network of the tests' own, and the system's ssh and sftp to look at it with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from notebooks_over_ssh import sandbox
from tests.kit.openssh_client import OpenSSHClient, make_client


@pytest.fixture(scope="session")
def data_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder whose name has spaces, for the whole session; the practice network in it ends with it."""
    home = tmp_path_factory.mktemp("home of a student")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_DATA_HOME", str(home / "data"))
        yield home / "data"
        sandbox.stop()


@pytest.fixture
def network(data_home: Path, monkeypatch: pytest.MonkeyPatch) -> sandbox.Network:
    """The running practice network of this session."""
    monkeypatch.setenv("XDG_DATA_HOME", str(data_home))
    return sandbox.ensure_running()


@pytest.fixture
def folder(network: sandbox.Network) -> Path:
    """The folder of the practice network."""
    return Path(network.client_key).parent


@pytest.fixture
def client(network: sandbox.Network, tmp_path: Path) -> OpenSSHClient:
    """OpenSSH, set up to reach the gateway (`gateway`) and what lies behind it."""
    return make_client(network, tmp_path)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder with no practice network in it; whatever a test starts there ends with the test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    yield tmp_path / "data" / "notebooks-over-ssh" / "sandbox"
    sandbox.stop()
