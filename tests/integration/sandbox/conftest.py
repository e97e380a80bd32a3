"""A sandbox for the tests, and OpenSSH's ssh and sftp to connect to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from notebooks_over_ssh import sandbox
from tests.kit.openssh_client import OpenSSHClient, make_client


@pytest.fixture(scope="session")
def data_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder with spaces in its name, for the whole session; the sandbox in it is stopped at the end."""
    home = tmp_path_factory.mktemp("home of a student")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_DATA_HOME", str(home / "data"))
        yield home / "data"
        sandbox.stop()


@pytest.fixture
def network(data_home: Path, monkeypatch: pytest.MonkeyPatch) -> sandbox.Network:
    """The running sandbox of this test session."""
    monkeypatch.setenv("XDG_DATA_HOME", str(data_home))
    return sandbox.ensure_running()


@pytest.fixture
def folder(network: sandbox.Network) -> Path:
    """The folder of the sandbox."""
    return Path(network.client_key).parent


@pytest.fixture
def client(network: sandbox.Network, tmp_path: Path) -> OpenSSHClient:
    """OpenSSH's client, configured for the gateway (`gateway`) and the hosts behind it."""
    return make_client(network, tmp_path)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder without a sandbox; a sandbox that the test starts there is stopped after it."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    yield tmp_path / "data" / "notebooks-over-ssh" / "sandbox"
    sandbox.stop()
