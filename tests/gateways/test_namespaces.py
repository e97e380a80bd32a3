"""A host that the network itself shows only to the gateway."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateways.https import look
from tests.gateways.namespaces import HOST, SeparateNetwork, inside, three_machines
from tests.journey.program import refused, succeeded, wait_until

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)"


@pytest.fixture
def separate(tmp_path: Path, packages: Path) -> Iterator[SeparateNetwork]:
    """Client, gateway and host with a network of their own each."""
    with three_machines() as machines:
        made = SeparateNetwork(tmp_path / "network", packages, machines)
        try:
            made.start()
            yield made
        finally:
            made.close()


def test_journey_of_three_machines(separate: SeparateNetwork) -> None:
    """Through the gateway the whole journey works to a host that cannot be reached past it."""
    user = separate.user
    past_it = user.execute(["python3", "-c", CONNECT, HOST, str(separate.host.port)])
    assert "Network is unreachable" in past_it.stderr
    separate.configure(gateway=None)
    refused(user.fab("secure"), 3, "Network is unreachable")
    assert separate.host.connections() == 0

    separate.configure()
    succeeded(user.fab("up", "--detach"))
    session = user.only_session()
    assert (session["server"], session["tunnel"]) == ("running", "open")
    shown = look(user, session["local_port"])
    assert shown.certificate_sha256 == session["certificate_sha256"]
    assert "version" in shown.answer
    succeeded(user.fab("stop"))
    assert user.status() == []
    separate.wait_until_empty()
    assert (separate.gateway.connections(), separate.host.connections()) == (
        separate.gateway.logins(),
        separate.host.logins(),
    )


def test_host_that_the_network_swallows(separate: SeparateNetwork) -> None:
    """A host whose cable is out is 3 after the seconds of -t at most; when it is back, the way is open again."""
    user, machines = separate.user, separate.machines
    cable = [*inside(machines.host), "ip", "link", "set", "to-gateway"]
    succeeded(user.execute([*cable, "down"]))
    refused(user.fab("-t", "2", "secure"), 3, HOST)
    succeeded(user.execute([*cable, "up"]))
    # The gateway's kernel remembers for a moment that nobody answered.
    connect = [*inside(machines.gateway), "python3", "-c", CONNECT, HOST, str(separate.host.port)]
    wait_until("the host is back", lambda: user.execute(connect).returncode == 0)
    succeeded(user.fab("secure"))
