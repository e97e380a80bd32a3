"""The errors of failed connections: gateway, forwarding, and the host behind it."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from notebooks_over_ssh.errors import ConnectError
from notebooks_over_ssh.ssh.remote import run_program
from tests.kit import wait
from tests.kit.cli import assert_error, assert_success
from tests.kit.ssh_client import Client
from tests.kit.sshd import GATEWAY_OPTIONS, LOOPBACK, Network
from tests.kit.wait import wait_until

TIMEOUT_S = 2


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port that accepts connections and sends nothing."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    "option",
    ["AllowTcpForwarding no", f"PermitOpen {LOOPBACK}:1"],
    ids=["no forwarding", "not to this host"],
)
def test_gateway_does_not_forward(network: Network, option: str) -> None:
    """A gateway that forbids forwarding is distinguished from one that cannot reach the host."""
    network.gateway.stop()
    network.gateway.start(option, *GATEWAY_OPTIONS)
    assert_error(network.user.fab("secure"), 3, f"{LOOPBACK} refuses to forward")
    assert network.gateway.logins() == 1


def test_host_is_down(network: Network) -> None:
    """A host that does not listen is named, and the gateway that reported it."""
    network.host.stop()
    assert_error(network.user.fab("secure"), 3, "cannot reach", "Connect")


def test_unknown_host(network: Network) -> None:
    """A name that the gateway cannot resolve is reported as an unreachable host."""
    assert_error(network.user.fab("-H", "nowhere.invalid", "secure"), 3, "nowhere.invalid")


def test_gateway_is_down(network: Network) -> None:
    """A gateway that does not listen is named, with its port."""
    network.gateway.stop()
    assert_error(network.user.fab("secure"), 3, f"refused the connection on port {network.gateway.port}")


def test_unknown_gateway(network: Network) -> None:
    """A gateway's name that does not exist is reported as such."""
    network.configure(gateway="nowhere.invalid")
    assert_error(network.user.fab("secure"), 3, "could not resolve host name nowhere.invalid")


@pytest.mark.parametrize("silent", ["gateway", "host"])
def test_silent_port(network: Network, silent: str) -> None:
    """A port that accepts and sends no version, on either hop, fails after the timeout of -t."""
    with silent_port() as port:
        destination = f"{LOOPBACK}:{port}"
        if silent == "gateway":
            network.configure(gateway=destination)
        else:
            network.configure(notebook={"host": destination})
        with network.user.in_time(TIMEOUT_S):
            assert_error(network.user.fab("-t", str(TIMEOUT_S), "secure"), 3, f"within {TIMEOUT_S} s")


def test_no_ssh_server(network: Network) -> None:
    """A port on which something other than SSH answers is reported as such."""
    with socket.create_server((LOOPBACK, 0)) as server:
        network.configure(gateway=f"{LOOPBACK}:{server.getsockname()[1]}")
        with network.user.running("fab", "secure") as command:
            server.settimeout(wait.TIMEOUT_S)
            with server.accept()[0] as client:
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
            output, error = command.communicate(timeout=wait.TIMEOUT_S)
    assert command.returncode == 3, output + error
    assert "hint: " in error
    assert "Traceback" not in error


def test_lost_connection(network: Network) -> None:
    """A connection that breaks during a command is reported as lost."""
    started = network.remote_home / "begun"
    network.configure(notebook={"activate": 'touch "$HOME/begun"; sleep 60'})
    with network.user.running("fab", "secure") as command:
        wait_until(started.exists, "the program on the host has started")
        network.gateway.stop()
        output, error = command.communicate(timeout=wait.TIMEOUT_S)
    assert command.returncode == 3, output + error
    assert "was lost" in error


def test_no_gateway(network: Network) -> None:
    """Without a gateway the host is connected to directly."""
    network.configure(gateway=None)
    assert_success(network.user.fab("secure"))
    assert (network.gateway.connections(), network.host.logins()) == (0, 1)


def test_proxy_command(network: Network) -> None:
    """A command in place of the gateway works with every task, and ends with it."""
    config = network.folder / "ssh_config"
    config.write_text(network.ssh_config())
    network.configure(gateway=f"ssh -F {config} -W %h:%p gateway")
    assert_success(network.user.fab("up", "--detach"))
    assert (network.gateway.logins(), network.host.logins()) == (1, 1)
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()


@pytest.mark.parametrize(
    "command",
    ["sh -c 'exit 1' %h:%p", "no-such-program-anywhere %h %p", "sleep 100"],
    ids=["it fails", "it is missing", "it never answers"],
)
def test_failing_proxy_command(network: Network, command: str) -> None:
    """A command that fails, is missing or never answers is a connection error; it is terminated."""
    network.configure(gateway=command)
    with network.user.in_time(TIMEOUT_S):
        assert_error(network.user.fab("-t", str(TIMEOUT_S), "secure"), 3)
    network.wait_until_empty()


def test_no_login_by_itself(client: Client) -> None:
    """A program that is to run over a connection that was lost is an error. Another login could need the user."""
    host = client.server("host")
    client.write_known_hosts(host.known_hosts_line)
    with client.connected(host) as connection:
        for process in host.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        wait_until(lambda: not connection.is_connected, "the loss is noticed")
        with pytest.raises(ConnectError, match="was lost"):
            run_program(connection, "server_status", {}, timeout_s=TIMEOUT_S)
    assert host.logins() == 1
