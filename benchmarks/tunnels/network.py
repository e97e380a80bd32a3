"""The network of the benchmark: an sshd as the gateway, one as the host, the load server, and a latency proxy."""

import contextlib
import signal
import tempfile
from collections.abc import Iterator
from getpass import getuser
from pathlib import Path

from tests.kit.sshd import Network, known_hosts_line, privsep_dir

from ..child_server import ROOT, run_server
from .endpoint import LOOPBACK, Endpoint


class BenchmarkNetwork:
    """The running network with two endpoints: `near`, and `far` behind a latency proxy (None without one)."""

    def __init__(self, network: Network, near: Endpoint, far: Endpoint | None) -> None:
        self.network = network
        self.near = near
        self.far = far

    def environment(self, endpoint: Endpoint) -> dict[str, str]:
        """The environment of a forwarder: its own home folder, and the gateway in INVOKE_GATEWAY."""
        return self.network.user.environment(
            PYTHONPATH=str(ROOT),
            INVOKE_GATEWAY=f"{LOOPBACK}:{endpoint.gateway_port}",
        )


@contextlib.contextmanager
def run_network(delay_ms: int, cipher: str | None = None) -> Iterator[BenchmarkNetwork]:
    """Run the network while the body runs; `delay_ms` is the round-trip time to the far endpoint, 0 for none.

    `cipher` is the only one that its servers allow, None for their default.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        stack.enter_context(privsep_dir())
        packages = folder / "packages"  # empty, because no Jupyter runs here
        packages.mkdir()
        network = Network(folder / "network", packages)
        stack.callback(network.close)
        # The guide's command runs nc on the gateway; the gateway of the tests only forwards.
        ciphers = [f"Ciphers {cipher}"] if cipher else []
        network.gateway.options = ("AllowTcpForwarding yes", network.environment(), *ciphers)
        network.host.options = (*network.host.options, *ciphers)
        with _sigint_blocked():
            network.start()
            target_port = stack.enter_context(run_server("benchmarks.tunnels.load_server"))
            near = _endpoint(network, network.gateway.port, target_port, target_port)
            far = None
            if delay_ms:
                gateway_port = stack.enter_context(
                    run_server("benchmarks.latency_proxy", str(network.gateway.port), str(delay_ms))
                )
                direct_port = stack.enter_context(
                    run_server("benchmarks.latency_proxy", str(target_port), str(delay_ms))
                )
                network.write_known_hosts(known_hosts_line(gateway_port, network.gateway.public_key))
                far = _endpoint(network, gateway_port, target_port, direct_port)
        yield BenchmarkNetwork(network, near, far)


def _endpoint(network: Network, gateway_port: int, target_port: int, direct_port: int) -> Endpoint:
    config = network.folder / f"ssh_config_{gateway_port}"
    config.write_text(
        network.ssh_config().replace(f"Port {network.gateway.port}\n", f"Port {gateway_port}\n")
    )
    return Endpoint(
        gateway_port=gateway_port,
        host_port=network.host.port,
        target_port=target_port,
        direct_port=direct_port,
        user=getuser(),
        key=str(network.key),
        known_hosts=str(network.known_hosts),
        ssh_config=str(config),
    )


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Block SIGINT in programs started in the body, so that Ctrl-C reaches this process alone, which stops them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
