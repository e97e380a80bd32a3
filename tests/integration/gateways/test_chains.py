"""Chains of gateways, gateways with IPv6 addresses, and a command in place of a gateway."""

import contextlib
import socket
from collections.abc import Iterator
from getpass import getuser
from pathlib import Path

import psutil
import pytest

from tests.kit.cli import assert_error, assert_success
from tests.kit.https_probe import probe
from tests.kit.leaks import command_line
from tests.kit.sshd import GATEWAY_OPTIONS, LOOPBACK, Network, Server, known_hosts_line
from tests.kit.wait import wait_until

LOOPBACK_6 = "::1"


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


@pytest.fixture
def second(network: Network) -> Iterator[Server]:
    """A second gateway, between the first one and the host."""
    server = Server(
        "second gateway",
        network.folder / "second",
        network.authorized_keys,
        "AllowTcpForwarding yes",
        f"AllowUsers {getuser()}@{LOOPBACK}",
        *GATEWAY_OPTIONS,
    )
    try:
        server.start()
        network.write_known_hosts(server.known_hosts_line)
        yield server
    finally:
        server.stop()


def chain(network: Network, second: Server) -> str:
    """The setting for both gateways, the nearest first."""
    return f"{getuser()}@{network.gateway_destination},{getuser()}@{LOOPBACK}:{second.port}"


def ssh_config(network: Network, second: Server, jumps: str) -> None:
    """Write a ~/.ssh/config in which the host is reached through `jumps`, and both gateways have names."""
    text = network.ssh_config().replace("ProxyJump gateway", f"ProxyJump {jumps}")
    (network.home / ".ssh" / "config").write_text(
        f"Host second\n    HostName {second.address}\n    Port {second.port}\n{text}"
    )
    network.configure(gateway=None, connect_kwargs={}, notebook={"host": "host"})


def has_ipv6() -> bool:
    """Whether this machine has the IPv6 loopback address."""
    with contextlib.suppress(OSError), socket.create_server((LOOPBACK_6, 0), family=socket.AF_INET6):
        return True
    return False


def logins(network: Network, second: Server) -> tuple[int, int, int]:
    """The number of logins on each hop."""
    return network.gateway.logins(), second.logins(), network.host.logins()


def test_two_gateways(network: Network, second: Server) -> None:
    """Every command and the tunnel pass through two gateways, separated by a comma, in their order."""
    network.configure(gateway=chain(network, second))
    assert_success(network.user.fab("up", "--detach"))
    session = network.user.only_session()
    assert session["gateway"] == chain(network, second)
    assert probe(network.user, session["local_port"]).certificate_sha256 == session["certificate_sha256"]
    assert_success(network.user.fab("stop"))
    assert len(set(logins(network, second))) == 1
    network.wait_until_empty()
    second.wait_until_no_clients()


def test_order_of_gateways(network: Network, second: Server) -> None:
    """The first gateway of a chain is connected to first, and the second through it."""
    network.configure(gateway=chain(network, second))
    network.gateway.stop()
    assert_error(network.user.fab("secure"), 3, f"refused the connection on port {network.gateway.port}")
    assert second.connections() == 0
    network.gateway.start()
    second.stop()
    assert_error(network.user.fab("secure"), 3, f"{LOOPBACK} cannot reach {LOOPBACK}")
    assert network.gateway.logins() == 1


def test_changed_key_in_the_middle(network: Network, second: Server) -> None:
    """A changed key of the second gateway exits with 5, and nothing is sent to it."""
    network.configure(gateway=chain(network, second))
    second.new_key()
    assert_error(network.user.fab("secure"), 5, f"{network.known_hosts}:3")
    assert logins(network, second) == (1, 0, 0)


def test_second_gateway_does_not_forward(network: Network, second: Server) -> None:
    """The error names the gateway that refuses to forward: 3."""
    network.configure(gateway=chain(network, second))
    second.stop()
    second.start("AllowTcpForwarding no", *GATEWAY_OPTIONS)
    assert_error(network.user.fab("secure"), 3, "refuses to forward")
    assert logins(network, second) == (1, 1, 0)


def test_chain_of_ssh_config(network: Network, second: Server) -> None:
    """`ProxyJump a,b` is followed in its order, and so is the ProxyJump of a jump host."""
    ssh_config(network, second, "gateway,second")
    network.gateway.stop()
    assert_error(network.user.fab("secure"), 3, "gateway refused the connection")
    assert second.connections() == 0
    network.gateway.start()
    assert_success(network.user.fab("secure"))
    assert logins(network, second) == (1, 1, 1)
    ssh_config(network, second, "second")
    config = network.home / ".ssh" / "config"
    config.write_text(config.read_text().replace("Host second\n", "Host second\n    ProxyJump gateway\n"))
    assert_success(network.user.fab("secure"))
    assert logins(network, second) == (2, 2, 2)


def test_ipv6_gateway(network: Network) -> None:
    """A gateway with an IPv6 address in brackets is connected to, found in known_hosts, and named in errors by that
    address.
    """
    if not has_ipv6():
        pytest.skip("needs IPv6 on loopback")
    gateway = Server(
        "IPv6 gateway",
        network.folder / "ipv6",
        network.authorized_keys,
        "AllowTcpForwarding yes",
        *GATEWAY_OPTIONS,
        address=LOOPBACK_6,
    )
    try:
        gateway.start()
        network.configure(gateway=f"[{LOOPBACK_6}]:{gateway.port}")
        assert_error(network.user.fab("secure"), 5, f"[{LOOPBACK_6}]:{gateway.port} is not known")
        network.write_known_hosts(known_hosts_line(gateway.port, gateway.public_key, LOOPBACK_6))
        assert_success(network.user.fab("secure"))
        assert (gateway.logins(), network.gateway.logins(), network.host.logins()) == (1, 0, 1)
    finally:
        gateway.stop()
    assert_error(network.user.fab("secure"), 3, f"refused the connection on port {gateway.port}")


def test_command_ends_with_the_task(network: Network) -> None:
    """A command in place of a gateway has ended with the task: after success, after a refusal, with the login."""
    config = network.folder / "ssh_config"
    config.write_text(network.ssh_config())
    network.configure(gateway=f"ssh -F {config} -W %h:%p gateway")

    def commands() -> list[psutil.Process]:
        return [
            process for process in network.processes(network.home) if str(config) in command_line(process)
        ]

    assert_success(network.user.fab("secure"))
    assert commands() == []
    assert_success(network.user.fab("up", "--detach"))
    assert len(commands()) == 1  # the tunnel's own
    assert_success(network.user.fab("stop"))
    network.user.end_logins()
    wait_until(lambda: not commands(), "the command ends with the login")
    network.host.new_key()
    assert_error(network.user.fab("secure"), 5, "does not match the one")
    assert commands() == []


def test_command_with_jumps(network: Network, second: Server, tmp_path: Path) -> None:
    """A command may itself pass several gateways, with OpenSSH's -J."""
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host second\n    HostName {second.address}\n    Port {second.port}\n    ProxyJump gateway\n"
        + network.ssh_config()
    )
    network.configure(gateway=f"ssh -F {config} -W %h:%p second")
    assert_success(network.user.fab("secure"))
    assert logins(network, second) == (1, 1, 1)
    network.wait_until_empty()
    second.wait_until_no_clients()


def test_doctor_uses_requested_name(network: Network) -> None:
    """Where the host's own name cannot be resolved from the gateway, `doctor` uses the name that the user gave."""
    network.set_hostname("nowhere.invalid")
    assert_success(network.user.fab("secure", "serve"))
    assert "kernel computed 1+1" in assert_success(network.user.fab("doctor")).stdout
    assert_success(network.user.fab("stop"))
