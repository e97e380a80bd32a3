"""The sandbox's gateway: logins, forwarding, and what it refuses."""

import socket
from pathlib import Path

import psutil
import pytest

from notebooks_over_ssh.sandbox import Network
from tests.kit.cli import run
from tests.kit.openssh_client import OpenSSHClient
from tests.kit.wait import TIMEOUT_S


@pytest.mark.parametrize("arguments", [["gateway"], ["gateway", "ls"], ["-s", "gateway", "sftp"]])
def test_refuses_sessions(client: OpenSSHClient, arguments: list[str]) -> None:
    """The gateway answers a shell, a command or a subsystem with one sentence on stderr and a failure."""
    result = client.run(*arguments)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "this gateway only forwards; connect through it to student.compute" in result.stderr


def test_refuses_a_pty(client: OpenSSHClient) -> None:
    """The gateway refuses a PTY."""
    result = client.run("-tt", "gateway")
    assert result.returncode != 0
    assert "PTY allocation request failed" in result.stderr


def test_forwards_to_a_host(client: OpenSSHClient) -> None:
    """A command reaches the host that it names."""
    result = client.run("bonnington", "echo here")
    assert (result.returncode, result.stdout, result.stderr) == (0, "here\n", "")


def test_closes_a_channel_that_the_host_ended(client: OpenSSHClient) -> None:
    """After the host has closed a connection, `ssh -W` exits at the end of its input: it waits for CLOSE."""
    with client.start("-W", "ashbury:22", "gateway") as process:
        assert process.stdin and process.stdout
        process.stdin.write("not SSH\n")
        process.stdin.flush()
        assert process.stdout.read().startswith("SSH-2.0-")
        process.stdin.close()
        try:
            assert process.wait(TIMEOUT_S) == 0
        finally:
            process.kill()


def test_pool_is_round_robin(network: Network, client: OpenSSHClient) -> None:
    """Each connection to the pool's name reaches the next host in turn."""
    names = [client.run(network.pool, "hostname").stdout.strip() for _ in range(4)]
    start = network.hosts.index(names[0])
    assert names == [network.hosts[(start + step) % 3] for step in range(4)]


@pytest.mark.parametrize(
    ("destination", "reason"),
    [
        ("nowhere:22", "connect failed: nowhere: Name or service not known"),
        ("ashbury:80", "connect failed: ashbury port 80: Connection refused"),
        ("127.0.0.1:22", "administratively prohibited"),
        ("localhost:22", "administratively prohibited"),
    ],
)
def test_refuses_other_destinations(client: OpenSSHClient, destination: str, reason: str) -> None:
    """The gateway forwards only to port 22 of its hosts; the refusal says why."""
    result = client.run("-W", destination, "gateway")
    assert result.returncode == 255
    assert reason in result.stderr


@pytest.mark.parametrize("host", ["gateway", "calder"])
def test_refuses_remote_forwarding(client: OpenSSHClient, host: str) -> None:
    """The gateway opens no listening port for a client (`ssh -R`)."""
    result = client.run("-N", "-R", "0:localhost:1", "-o", "ExitOnForwardFailure=yes", host)
    assert result.returncode == 255
    assert "remote port forwarding failed" in result.stderr


@pytest.mark.parametrize("host", ["gateway", "ashbury"])
def test_refuses_other_keys(client: OpenSSHClient, network: Network, tmp_path: Path, host: str) -> None:
    """Gateway and hosts accept only the generated key, and offer no password login."""
    other = tmp_path / "other"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other))
    config_file = tmp_path / "other_config"
    # The connection to the gateway keeps the right key: the ProxyCommand reads the other file.
    config_file.write_text(client.config_file.read_text().replace(network.client_key, str(other)))
    result = OpenSSHClient(network, config_file).run("-o", "BatchMode=no", host, "true")
    assert result.returncode == 255
    assert "Permission denied (publickey)" in result.stderr


def test_listens_on_loopback_only(network: Network) -> None:
    """The whole sandbox has one listening port, the gateway's, on loopback."""
    listening = [
        connection.laddr
        for connection in psutil.Process(network.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == [("127.0.0.1", network.gateway_port)]


def test_survives_broken_clients(network: Network, client: OpenSSHClient) -> None:
    """A client that disconnects early, or does not speak SSH, leaves the gateway working."""
    for words in (b"", b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n"):
        with socket.create_connection(("127.0.0.1", network.gateway_port), timeout=10) as connection:
            connection.sendall(words)
    assert client.run("ashbury", "true").returncode == 0
