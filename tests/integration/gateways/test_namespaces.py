"""A host that only the gateway can reach, in network namespaces."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.cli import assert_error, assert_success
from tests.kit.https_probe import probe
from tests.kit.netns import HOST, NetnsNetwork, netns_exec, three_namespaces
from tests.kit.wait import wait_until

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)"


@pytest.fixture
def separate(tmp_path: Path, packages: Path) -> Iterator[NetnsNetwork]:
    """Client, gateway and host, each in its own network namespace."""
    with three_namespaces() as machines:
        network = NetnsNetwork(tmp_path / "network", packages, machines)
        try:
            network.start()
            yield network
        finally:
            network.close()


def test_session(separate: NetnsNetwork) -> None:
    """All commands work through the gateway to a host that cannot be reached otherwise."""
    user = separate.user
    past_it = user.execute(["python3", "-c", CONNECT, HOST, str(separate.host.port)])
    assert "Network is unreachable" in past_it.stderr
    separate.configure(gateway=None)
    assert_error(user.fab("secure"), 3, "Network is unreachable")
    assert separate.host.connections() == 0

    separate.configure()
    assert_success(user.fab("up", "--detach"))
    session = user.only_session()
    assert (session["server"], session["tunnel"]) == ("running", "open")
    fingerprint = probe(user, session["local_port"])
    assert fingerprint.certificate_sha256 == session["certificate_sha256"]
    assert "version" in fingerprint.answer
    assert_success(user.fab("stop"))
    assert user.status() == []
    separate.wait_until_empty()
    assert (separate.gateway.connections(), separate.host.connections()) == (
        separate.gateway.logins(),
        separate.host.logins(),
    )


def test_lost_packets(separate: NetnsNetwork) -> None:
    """A host whose packets are lost exits with 3 within the timeout of -t; when its link is up again, it is reached."""
    user, machines = separate.user, separate.machines
    cable = [*netns_exec(machines.host), "ip", "link", "set", "to-gateway"]
    assert_success(user.execute([*cable, "down"]))
    assert_error(user.fab("-t", "2", "secure"), 3, HOST)
    assert_success(user.execute([*cable, "up"]))
    # The gateway's kernel remembers for a moment that nobody answered.
    connect = [*netns_exec(machines.gateway), "python3", "-c", CONNECT, HOST, str(separate.host.port)]
    wait_until(lambda: user.execute(connect).returncode == 0, "the host is back")
    assert_success(user.fab("secure"))
