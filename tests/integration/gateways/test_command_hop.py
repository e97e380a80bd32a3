"""A hop that a command on the gateway leads to, such as a step of a job: no port is opened for it."""

import shlex
from pathlib import Path

import pytest

from notebooks_over_ssh.errors import ConnectError, HostKeyError
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.connections import CommandHop, connect_through
from notebooks_over_ssh.ssh.protocol.command_channel import HopCommand
from notebooks_over_ssh.ssh.remote import run_program
from tests.kit.ssh_client import Client
from tests.kit.sshd import COMMON_OPTIONS, make_key, sshd

TIMEOUT_S = 10


@pytest.fixture
def hop(client: Client, tmp_path: Path) -> CommandHop:
    """An sshd for one connection, which the gateway's command starts, with keys of its own."""
    folder = tmp_path / "hop"
    folder.mkdir()
    make_key(folder / "host_key")
    make_key(folder / "user_key")
    config = folder / "sshd_config"
    config.write_text(
        f"{COMMON_OPTIONS}HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/user_key.pub\n"
        "AllowTcpForwarding local\n"
    )
    return CommandHop(
        name="node1",
        host_key=(folder / "host_key.pub").read_text().split()[1],
        key_file=folder / "user_key",
        command=HopCommand(f'read -r path; exec {shlex.quote(sshd())} -i -f "$path"', f"{config}\n".encode()),
        timeout_s=TIMEOUT_S,
    )


def enter(client: Client, gateway: Connection, hop: CommandHop) -> Connection:
    return connect_through(gateway, hop, client.settings())


def test_program_on_the_hop(client: Client, hop: CommandHop) -> None:
    """A program runs on the hop, its connection is opened once, and a large reply arrives whole."""
    gateway = client.server("gateway")
    client.write_known_hosts(gateway.known_hosts_line)
    with client.connected(gateway) as connection:
        inner = enter(client, connection, hop)
        reply = run_program(inner, "server_status", {}, timeout_s=TIMEOUT_S)
        assert reply["problem"] == ""
        assert reply["running"] is False
        assert enter(client, connection, hop) is inner


def test_other_host_key(client: Client, hop: CommandHop, tmp_path: Path) -> None:
    """A hop with another key than the expected one is refused before any login."""
    gateway = client.server("gateway")
    client.write_known_hosts(gateway.known_hosts_line)
    for file in (tmp_path / "hop").glob("host_key*"):
        file.unlink()
    make_key(tmp_path / "hop" / "host_key")
    with client.connected(gateway) as connection, pytest.raises(HostKeyError, match="node1"):
        enter(client, connection, hop)


@pytest.mark.parametrize(
    "command", ["echo 'srun: error: no such job' >&2; exit 1", "head -c 100000 /dev/zero >&2"]
)
def test_failed_command(client: Client, hop: CommandHop, command: str) -> None:
    """The last lines that the command wrote to its standard error are in the error, cut at a maximum length."""
    gateway = client.server("gateway")
    client.write_known_hosts(gateway.known_hosts_line)
    failing = CommandHop("node1", hop.host_key, hop.key_file, HopCommand(command, b""), TIMEOUT_S)
    with client.connected(gateway) as connection:
        with pytest.raises(ConnectError) as problem:
            enter(client, connection, failing)
        assert connection.is_connected
    assert sum(map(len, problem.value.detail)) <= 2000
    if "echo" in command:
        assert problem.value.detail == ("srun: error: no such job",)
