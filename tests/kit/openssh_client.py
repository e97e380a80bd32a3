"""The system's OpenSSH client, for the sandbox."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from notebooks_over_ssh import sandbox
from notebooks_over_ssh.sandbox.paths import LOGIN_NODE
from tests.kit.cli import Result, run


@dataclass(frozen=True)
class OpenSSHClient:
    """The system's OpenSSH client, with the sandbox's key and none of this user's settings."""

    network: sandbox.Network
    config_file: Path

    def command(self, *arguments: str, program: str = "ssh") -> list[str]:
        """The argv of a client program."""
        return [program, "-F", str(self.config_file), *arguments]

    def run(self, *arguments: str, stdin: str = "", program: str = "ssh") -> Result:
        """Run a client program, and wait for it."""
        return run(*self.command(*arguments, program=program), stdin=stdin, check=False)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ssh with pipes for all three streams."""
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def make_client(network: sandbox.Network, folder: Path) -> OpenSSHClient:
    """Write an ssh_config for a network. Skips the test when a client program is missing."""
    for program in ("ssh", "sftp"):
        if shutil.which(program) is None:
            pytest.skip(f"needs the program {program} (OpenSSH client)")
    config_file = folder / "ssh_config"
    config_file.write_text(
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
Host {" ".join(network.hosts)} {network.pool} {LOGIN_NODE}
    ProxyCommand ssh -F "{config_file}" -W %h:%p gateway
"""
    )
    return OpenSSHClient(network, config_file)
