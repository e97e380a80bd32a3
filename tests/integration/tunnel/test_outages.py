"""After an outage no output of a cell is lost where `ssh -L`, through the same hops at the same time, loses none."""

import contextlib
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.kit.printing_pages import count_lost_lines, ssh_tunnel
from tests.kit.proxied_tunnel import MB, ProxiedNetwork, running_workload
from tests.kit.sshd import LOOPBACK
from tests.kit.wait import elapsed, wait_until

NetworkOutage = Callable[[ProxiedNetwork], contextlib.AbstractContextManager[None]]
OUTAGE_S = 20.0


def last(seconds: float) -> None:
    """Wait that many seconds."""
    wait_until(elapsed(time.monotonic(), seconds), "the outage is over", timeout_s=seconds * 2)


@contextlib.contextmanager
def data_held(proxied: ProxiedNetwork) -> Iterator[None]:
    """An outage in which nothing gets through, and all data arrives afterwards."""
    proxied.first.freeze()
    last(OUTAGE_S)
    yield
    proxied.first.unfreeze()


@contextlib.contextmanager
def gateway_stopped(proxied: ProxiedNetwork) -> Iterator[None]:
    """An outage in which the gateway's processes are stopped, while its kernel keeps running."""
    assert proxied.network.gateway._process
    processes = [psutil.Process(proxied.network.gateway._process.pid), *proxied.network.gateway.children()]
    for process in processes:
        process.suspend()
    last(OUTAGE_S)
    yield
    for process in processes:
        process.resume()


@pytest.mark.parametrize("outage", [data_held, gateway_stopped], ids=lambda outage: outage.__name__)
def test_no_line_is_lost(proxied: ProxiedNetwork, outage: NetworkOutage) -> None:
    """When data is held for 20 s, or the gateway is stopped, the tunnel keeps its connections, and no line is lost."""
    network = proxied.network
    config = network.ssh_config()
    for server, relay in ((network.gateway, proxied.first), (network.host, proxied.second)):
        config = config.replace(f"Port {server.port}\n", f"Port {relay.port}\n")
    with (
        running_workload(proxied, MB) as work,
        ssh_tunnel(network, config, work.before["remote_port"]) as plain,
    ):
        lost_by_tunnel, lost_by_ssh = count_lost_lines(
            lambda: outage(proxied),
            (work.before["local_port"], plain),
            proxied.user.certificate_pem(LOOPBACK),
            network.folder,
        )
        assert proxied.outages() == 1, proxied.log()
        proxied.wait_for("open")
        work.assert_unchanged()
    print(f"{lost_by_tunnel} lines lost, by ssh -L {lost_by_ssh}")
    assert (lost_by_tunnel, lost_by_ssh) == (0, 0)
