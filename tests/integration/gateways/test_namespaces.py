"""A host that only the gateway can reach, in network namespaces."""

from pathlib import Path

import pytest

from tests.kit.cli import assert_error, assert_success
from tests.kit.https_probe import probe
from tests.kit.netns import HOST, NetnsNetwork, netns_exec
from tests.kit.wait import wait_until

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)"


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


def test_session(netns_network: NetnsNetwork) -> None:
    """All commands work through the gateway to a host that cannot be reached otherwise."""
    user = netns_network.user
    past_it = user.execute(["python3", "-c", CONNECT, HOST, str(netns_network.host.port)])
    assert "Network is unreachable" in past_it.stderr
    netns_network.configure(gateway=None)
    assert_error(user.fab("secure"), 3, "Network is unreachable")
    assert netns_network.host.connections() == 0

    netns_network.configure()
    assert_success(user.fab("up", "--detach"))
    session = user.only_session()
    assert (session["server"], session["tunnel"]) == ("running", "open")
    fingerprint = probe(user, session["local_port"])
    assert fingerprint.certificate_sha256 == session["certificate_sha256"]
    assert "version" in fingerprint.answer
    assert_success(user.fab("stop"))
    assert user.status() == []
    netns_network.wait_until_empty()
    assert (netns_network.gateway.connections(), netns_network.host.connections()) == (
        netns_network.gateway.logins(),
        netns_network.host.logins(),
    )


def test_lost_packets(netns_network: NetnsNetwork) -> None:
    """A host whose packets are lost exits with 3 within the timeout of -t; when its link is up again, it is reached."""
    user, machines = netns_network.user, netns_network.machines
    cable = [*netns_exec(machines.host), "ip", "link", "set", "to-gateway"]
    assert_success(user.execute([*cable, "down"]))
    assert_error(user.fab("-t", "2", "secure"), 3, HOST)
    assert_success(user.execute([*cable, "up"]))
    # The gateway's kernel caches the failed neighbour for a moment (arp(7)).
    connect = [*netns_exec(machines.gateway), "python3", "-c", CONNECT, HOST, str(netns_network.host.port)]
    wait_until(lambda: user.execute(connect).returncode == 0, "the host is back")
    assert_success(user.fab("secure"))
