"""After an outage no output of a cell is lost where `ssh -L`, through the same hops at the same time, loses none."""

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial

from tests.kit.cli import assert_success
from tests.kit.line_streams import LineStream, line_server
from tests.kit.netns import NetnsNetwork, dropped_packets, netns_exec
from tests.kit.printing_pages import count_lost_lines, ssh_tunnel
from tests.kit.proxied_tunnel import MB, ProxiedNetwork, Tunnel, running_workload
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
    processes = [proxied.network.gateway.process(), *proxied.network.gateway.children()]
    for process in processes:
        process.suspend()
    last(OUTAGE_S)
    yield
    for process in processes:
        process.resume()


def test_no_line_is_lost(proxied: ProxiedNetwork) -> None:
    """When data is delayed, or the gateway stopped, for 20 s, the tunnel keeps its connections, and no line is lost."""
    network = proxied.network
    config = network.ssh_config()
    for server, relay in ((network.gateway, proxied.first), (network.host, proxied.second)):
        config = config.replace(f"Port {server.port}\n", f"Port {relay.port}\n")
    outages: tuple[NetworkOutage, ...] = (data_held, gateway_stopped)
    with (
        running_workload(proxied, MB) as work,
        ssh_tunnel(network, config, work.before["remote_port"]) as plain,
    ):
        for number, outage in enumerate(outages, 1):
            lost_by_tunnel, lost_by_ssh = count_lost_lines(
                partial(outage, proxied),
                (work.before["local_port"], plain),
                proxied.user.certificate_pem(LOOPBACK),
                network.folder,
            )
            assert proxied.outages() == number, proxied.log()
            proxied.wait_for("open")
            work.assert_unchanged()
            print(f"{lost_by_tunnel} lines lost, by ssh -L {lost_by_ssh}")
            assert (lost_by_tunnel, lost_by_ssh) == (0, 0)


def test_dropped_packets(netns_network: NetnsNetwork) -> None:
    """Packets are dropped for longer than the tunnel waits for a reply, twice: no line is lost, and none by `ssh -L`.

    After each outage the tunnel connects anew before TCP retransmits on the old connection.
    """
    network, user, machines = netns_network, netns_network.user, netns_network.machines
    (network.home / ".ssh" / "config").write_text("ServerAliveInterval 1\n")
    with contextlib.ExitStack() as stack:
        server_port = stack.enter_context(line_server(machines.host))
        assert_success(user.fab("up", "--detach", "--forward", str(server_port)))
        stack.callback(lambda: assert_success(user.fab("stop", "--force")))
        tunnel = Tunnel(user)
        ports = {
            "tunnel": tunnel.record()["extra_ports"][str(server_port)],
            "ssh": stack.enter_context(
                ssh_tunnel(network, network.ssh_config(), server_port, netns_exec(machines.client))
            ),
        }
        streams = {
            name: stack.enter_context(
                contextlib.closing(LineStream(machines.client, port, network.folder / f"{name}.lines"))
            )
            for name, port in ports.items()
        }
        for _ in range(2):
            for stream in streams.values():
                stream.wait_for_more(1)
            with dropped_packets(machines):
                tunnel.wait_for("reconnecting")
            for stream in streams.values():
                stream.wait_for_more(1)
            tunnel.wait_for("open")
        lost_lines = {name: stream.finish() for name, stream in streams.items()}
        assert tunnel.outages() == 2, tunnel.log()
        print(tunnel.log())
    assert lost_lines == {"tunnel": [], "ssh": []}
