"""How many round trips to the gateway a command waits for, before it has its answer."""

from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.kit.cli import assert_success
from tests.kit.mitm_sshd import AsyncioThread
from tests.kit.proxied_tunnel import Tunnel
from tests.kit.round_trips import RoundTripCounter
from tests.kit.sshd import LOOPBACK, Network, known_hosts_line
from tests.kit.wait import wait_until

# Twice that is longer than what a command does between two messages, on a busy machine too.
DELAY_S = 1.1


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


def test_held_login(network: Network, loop: AsyncioThread) -> None:
    """With a login held, `status`, `logs` and `stop` need one round trip, and `up` with its tunnel open or not two."""
    with closing(RoundTripCounter(loop, network.gateway.port)) as counter:
        network.write_known_hosts(known_hosts_line(counter.port, network.gateway.public_key))
        network.configure(gateway=f"{LOOPBACK}:{counter.port}")
        assert_success(network.user.fab("up", "--detach"))

        def assert_sufficient(count: int, answer: str, *command: str) -> None:
            wait_until(lambda: len(network.host.waiting_commands()) == 1, "a command waits for its input")
            counter.restart(DELAY_S, max_count=count)
            result = assert_success(network.user.fab(*command))
            assert answer in result.stdout
            assert counter.count == count
            counter.restart()

        assert_sufficient(1, "running", "status")
        assert_sufficient(1, "server listens on port", "logs")
        assert_sufficient(2, "ready ", "up", "--detach")
        tunnel = Tunnel(network.user)
        psutil.Process(tunnel.record()["pid"]).terminate()
        wait_until(lambda: not tunnel.record(), "the tunnel is closed")
        assert_sufficient(2, "ready ", "up", "--detach")
        assert_sufficient(1, "stopped the server", "stop")
