"""The gateway: who is let in, what it forwards, what it refuses."""

import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from notebooks_over_ssh.sandbox import Network
from tests.kit.openssh_client import OpenSSHClient


@pytest.mark.parametrize("arguments", [["gateway"], ["gateway", "ls"], ["-s", "gateway", "sftp"]])
def test_refuses_sessions(client: OpenSSHClient, arguments: list[str]) -> None:
    """A shell, a command and a subsystem end with one sentence on stderr and a failure."""
    result = client.run(*arguments)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "this gateway only forwards; connect through it to student.compute" in result.stderr


def test_refuses_a_terminal(client: OpenSSHClient) -> None:
    """A PTY is refused as well."""
    result = client.run("-tt", "gateway")
    assert result.returncode != 0
    assert "PTY allocation request failed" in result.stderr


def test_forwards_to_a_host(client: OpenSSHClient) -> None:
    """A command reaches the host that was named."""
    result = client.run("bonnington", "echo here")
    assert (result.returncode, result.stdout, result.stderr) == (0, "here\n", "")


def test_pool_goes_round(network: Network, client: OpenSSHClient) -> None:
    """The pool's name leads to another host with each connection, in order."""
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
    """Only port 22 of the known hosts is forwarded to; the refusal says why."""
    result = client.run("-W", destination, "gateway")
    assert result.returncode == 255
    assert reason in result.stderr


@pytest.mark.parametrize("host", ["gateway", "calder"])
def test_refuses_remote_forwarding(client: OpenSSHClient, host: str) -> None:
    """Nobody listens on behalf of a client."""
    result = client.run("-N", "-R", "0:localhost:1", "-o", "ExitOnForwardFailure=yes", host)
    assert result.returncode == 255
    assert "remote port forwarding failed" in result.stderr


@pytest.mark.parametrize("host", ["gateway", "ashbury"])
def test_accepts_no_other_key(client: OpenSSHClient, network: Network, tmp_path: Path, host: str) -> None:
    """Neither the gateway nor a host lets in a key that is not the generated one, and neither asks for a password."""
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    config_file = tmp_path / "other_config"
    # The connection to the gateway, which leads to the host, keeps the right key: its configuration is the other file.
    config_file.write_text(client.config_file.read_text().replace(network.client_key, str(other)))
    result = OpenSSHClient(network, config_file).run("-o", "BatchMode=no", host, "true")
    assert result.returncode == 255
    assert "Permission denied (publickey)" in result.stderr


def test_only_the_gateway_listens_and_on_loopback(network: Network) -> None:
    """The whole network has one listening port, of this machine alone."""
    listening = [
        connection.laddr
        for connection in psutil.Process(network.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == [("127.0.0.1", network.gateway_port)]


def test_an_interrupted_greeting_does_no_harm(network: Network, client: OpenSSHClient) -> None:
    """A client that goes away, or speaks no SSH, leaves the gateway working."""
    for words in (b"", b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n"):
        with socket.create_connection(("127.0.0.1", network.gateway_port), timeout=10) as connection:
            connection.sendall(words)
    assert client.run("ashbury", "true").returncode == 0
