"""What is said when the way is not open: the gateway, the forwarding, the host behind it."""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from tests.kit.cli import assert_error, assert_success
from tests.kit.sshd import GATEWAY_OPTIONS, LOOPBACK, Network
from tests.kit.wait import wait_until

TIMEOUT_S = 2
# What a program needs besides to begin and to end on a busy machine.
STARTUP_SLACK_S = 6


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port that lets everyone in and never says a word."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    "option",
    ["AllowTcpForwarding no", f"PermitOpen {LOOPBACK}:1"],
    ids=["no forwarding", "not to this host"],
)
def test_gateway_does_not_forward(network: Network, option: str) -> None:
    """A gateway that refuses to forward is told from one that cannot reach the host."""
    network.gateway.stop()
    network.gateway.start(option, *GATEWAY_OPTIONS)
    assert_error(network.user.fab("secure"), 3, f"{LOOPBACK} does not let you through")
    assert network.gateway.logins() == 1


def test_host_is_down(network: Network) -> None:
    """A host that does not listen is named, and so is the gateway that said so."""
    network.host.stop()
    assert_error(network.user.fab("secure"), 3, "cannot reach", "Connect")


def test_host_has_no_such_name(network: Network) -> None:
    """A name that the gateway does not know is told as a host that cannot be reached."""
    assert_error(network.user.fab("-H", "nowhere.invalid", "secure"), 3, "nowhere.invalid")


def test_gateway_is_down(network: Network) -> None:
    """A gateway that does not listen is named, with its port."""
    network.gateway.stop()
    assert_error(network.user.fab("secure"), 3, f"refused the connection on port {network.gateway.port}")


def test_gateway_has_no_such_name(network: Network) -> None:
    """A name of a gateway that does not exist is told as that."""
    network.configure(gateway="nowhere.invalid")
    assert_error(network.user.fab("secure"), 3, "there is no host called nowhere.invalid")


@pytest.mark.parametrize("silent", ["gateway", "host"])
def test_silence(network: Network, silent: str) -> None:
    """A port that accepts and never says what it is, on either hop, is given up after the seconds of -t."""
    with silent_port() as port:
        place = f"{LOOPBACK}:{port}"
        if silent == "gateway":
            network.configure(gateway=place)
        else:
            network.configure(notebook={"host": place})
        begin = time.monotonic()
        assert_error(network.user.fab("-t", str(TIMEOUT_S), "secure"), 3, f"within {TIMEOUT_S} s")
        assert time.monotonic() - begin < TIMEOUT_S + STARTUP_SLACK_S


def test_something_else_answers(network: Network) -> None:
    """A port on which something else than SSH answers is no gateway."""
    with socket.create_server((LOOPBACK, 0)) as server:
        network.configure(gateway=f"{LOOPBACK}:{server.getsockname()[1]}")
        with network.user.running("fab", "secure") as command:
            server.settimeout(STARTUP_SLACK_S)
            with server.accept()[0] as client:
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
            output, error = command.communicate(timeout=STARTUP_SLACK_S * 2)
    assert command.returncode == 3, output + error
    assert "hint: " in error
    assert "Traceback" not in error


def test_connection_is_lost_under_way(network: Network) -> None:
    """When the way breaks while the host works, it is told as a lost connection."""
    started = network.remote_home / "begun"
    network.configure(notebook={"activate": 'touch "$HOME/begun"; sleep 60'})
    with network.user.running("fab", "secure") as command:
        wait_until(started.exists, "the host works")
        network.gateway.stop()
        output, error = command.communicate(timeout=STARTUP_SLACK_S * 2)
    assert command.returncode == 3, output + error
    assert "was lost" in error


def test_no_gateway(network: Network) -> None:
    """With no gateway the host is reached at once."""
    network.configure(gateway=None)
    assert_success(network.user.fab("secure"))
    assert (network.gateway.connections(), network.host.logins()) == (0, 1)


def test_command_for_a_gateway(network: Network) -> None:
    """A command that leads to the host takes the gateway's place, for every step, and ends with it."""
    config = network.folder / "ssh_config"
    config.write_text(network.ssh_config())
    network.configure(gateway=f"ssh -F {config} -W %h:%p gateway")
    assert_success(network.user.fab("up", "--detach"))
    assert (network.gateway.logins(), network.host.logins()) == (2, 2)
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()


@pytest.mark.parametrize(
    "command",
    ["sh -c 'exit 1' %h:%p", "no-such-program-anywhere %h %p", "sleep 100"],
    ids=["it fails", "it is missing", "it never answers"],
)
def test_command_that_leads_nowhere(network: Network, command: str) -> None:
    """A command that fails, is missing or never answers is a connection that could not be made; it is ended."""
    network.configure(gateway=command)
    begin = time.monotonic()
    assert_error(network.user.fab("-t", str(TIMEOUT_S), "secure"), 3)
    assert time.monotonic() - begin < TIMEOUT_S + STARTUP_SLACK_S
    network.wait_until_empty()
