"""Of what a cell prints in an outage nothing is lost where `ssh -L`, through the same hops at the same time, loses nothing."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.gateways.namespaces import SeparateNetwork, inside, three_machines
from tests.gateways.servers import found
from tests.journey.program import succeeded
from tests.openssh.network import LOOPBACK, free_port, wait_until
from tests.tunnel.printing import lines_lost, ssh_tunnel
from tests.tunnel.way import MB, OUTAGE_PATIENCE_S, PASSWORD, Tunnel, Way, since, working

OfWay = Callable[[Way], contextlib.AbstractContextManager[None]]
OUTAGE_S = 20.0
# tc-tbf(8): a packet that is larger than the burst is dropped.
DROP = ("root", "tbf", "rate", "8bit", "burst", "10", "latency", "1ms")


def lasts(seconds: float) -> None:
    """Let so much time go by."""
    wait_until(since(time.monotonic(), seconds), seconds * 2, "the outage is over")


@contextlib.contextmanager
def data_held(way: Way) -> Iterator[None]:
    """Nothing comes through, and all that waited comes afterwards."""
    way.first.freeze()
    lasts(OUTAGE_S)
    yield
    way.first.thaw()


@contextlib.contextmanager
def gateway_stopped(way: Way) -> Iterator[None]:
    """The gateway's processes are stopped, while its system goes on."""
    assert way.network.gateway._process
    processes = [psutil.Process(way.network.gateway._process.pid), *way.network.gateway.children()]
    for process in processes:
        process.suspend()
    lasts(OUTAGE_S)
    yield
    for process in processes:
        process.resume()


@pytest.mark.parametrize("outage", [data_held, gateway_stopped], ids=lambda outage: outage.__name__)
def test_path_that_comes_back(way: Way, outage: OfWay) -> None:
    """Data is held for 20 s, or the gateway stopped: the tunnel keeps its connections, and no line is lost."""
    network = way.network
    config = network.ssh_config()
    for server, relay in ((network.gateway, way.first), (network.host, way.second)):
        config = config.replace(f"Port {server.port}\n", f"Port {relay.port}\n")
    with (
        working(way, MB) as work,
        ssh_tunnel(network, config, work.before["remote_port"]) as plain,
    ):
        lost, lost_by_ssh = lines_lost(
            lambda: outage(way),
            (work.before["local_port"], plain),
            way.user.certificate_pem(LOOPBACK),
            network.folder,
        )
        assert way.outages() == 1, way.log()
        way.wait_for("open")
        work.goes_on()
    print(f"{lost} lines lost, by ssh -L {lost_by_ssh}")
    assert (lost, lost_by_ssh) == (0, 0)


@pytest.mark.parametrize("seconds", [10.0, 20.0])
def test_packets_dropped(tmp_path: Path, packages: Path, seconds: float) -> None:
    """Every packet is dropped: TCP sends again later than a new connection is made, and still no line is lost."""
    if not found("tc"):
        pytest.skip("needs the program tc (iproute2)")
    with three_machines() as machines:
        network = SeparateNetwork(tmp_path / "network", packages, machines)
        ends = ((machines.client, "to-gateway"), (machines.gateway, "to--client"))

        @contextlib.contextmanager
        def dropped() -> Iterator[None]:
            for namespace, name in ends:
                tc("-n", namespace, "qdisc", "add", "dev", name, *DROP)
            lasts(seconds)
            yield
            for namespace, name in ends:
                tc("-n", namespace, "qdisc", "del", "dev", name, "root")

        tunnel = Tunnel(network.user)
        try:
            network.start()
            password = network.folder / "password"
            password.write_text(f"{PASSWORD}\n")
            where = ("--local-port", str(free_port()), "--password-file", str(password))
            succeeded(network.user.fab("up", "--detach", *where))
            session = network.user.only_session()
            config = network.ssh_config().replace(f"    HostName {LOOPBACK}\n", "")
            for server, name in ((network.gateway, "gateway"), (network.host, "host")):
                config = config.replace(f"Host {name}\n", f"Host {name}\n    HostName {server.address}\n")
            prefix = tuple(inside(machines.client))
            with ssh_tunnel(network, config, session["remote_port"], prefix) as plain:
                lost, lost_by_ssh = lines_lost(
                    dropped,
                    (session["local_port"], plain),
                    network.user.certificate_pem(session["host"]),
                    network.folder,
                    machines.client,
                )
            tunnel.wait_for("open")
        finally:
            with contextlib.suppress(AssertionError):
                succeeded(network.user.fab("stop", "--force"))
            network.close()
    print(f"{lost} lines lost, by ssh -L {lost_by_ssh}; {tunnel.outages()} outages")
    assert (lost, lost_by_ssh) == (0, 0)


def tc(*arguments: str) -> None:
    """Run tc(8)."""
    subprocess.run([found("tc"), *arguments], check=True, timeout=OUTAGE_PATIENCE_S)
