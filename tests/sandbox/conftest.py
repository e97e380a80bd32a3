"""A practice network of the tests' own, and the system's ssh and sftp to look at it with."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from notebooks_over_ssh import sandbox

SECONDS = 60.0


@dataclass(frozen=True)
class Client:
    """The system's OpenSSH client, with the practice network's key and nothing of this user's own settings."""

    network: sandbox.Network
    configuration: Path

    def command(self, *arguments: str, program: str = "ssh") -> list[str]:
        """The argv of a client program."""
        return [program, "-F", str(self.configuration), *arguments]

    def run(
        self, *arguments: str, stdin: str | None = None, program: str = "ssh"
    ) -> subprocess.CompletedProcess[str]:
        """Run a client program to its end."""
        return subprocess.run(
            self.command(*arguments, program=program),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ssh with pipes at all three streams."""
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


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
def client(network: sandbox.Network, tmp_path: Path) -> Client:
    """OpenSSH, set up to reach the gateway (`gateway`) and what lies behind it."""
    return make_client(network, tmp_path)


def make_client(network: sandbox.Network, folder: Path) -> Client:
    """Write an ssh_config for a network. Skips the test when a client program is missing."""
    for program in ("ssh", "sftp"):
        if shutil.which(program) is None:
            pytest.skip(f"needs the program {program} (OpenSSH client)")
    configuration = folder / "ssh_config"
    configuration.write_text(
        f"""\
Host *
    IdentityFile "{network.client_key}"
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile "{network.known_hosts}"
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    BatchMode yes
    ForwardAgent no
    User anybody
Host gateway
    HostName 127.0.0.1
    Port {network.gateway_port}
Host {" ".join(network.hosts)} {network.pool}
    ProxyCommand ssh -F "{configuration}" -W %h:%p gateway
"""
    )
    return Client(network, configuration)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder with no practice network in it; whatever a test starts there ends with the test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    yield tmp_path / "data" / "notebooks-over-ssh" / "sandbox"
    sandbox.stop()
