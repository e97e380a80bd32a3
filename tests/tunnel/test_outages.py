"""Of what a cell prints in an outage nothing is lost where `ssh -L`, through the same hops at the same time, loses nothing."""

import contextlib
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.openssh.network import LOOPBACK, wait_until
from tests.tunnel.printing import lines_lost, ssh_tunnel
from tests.tunnel.way import MB, Way, since, working

OfWay = Callable[[Way], contextlib.AbstractContextManager[None]]
OUTAGE_S = 20.0


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
