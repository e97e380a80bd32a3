"""The path that every forwarder takes: an sshd as the gateway, one as the host, the target, and the line before them."""

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from getpass import getuser
from pathlib import Path

from tests.kit.sshd import Network, known_hosts_line, privsep_dir

from ..time_to_notebook import delayed
from .endpoint import LOOPBACK, Endpoint

ROOT = Path(__file__).resolve().parents[2]
END_TIMEOUT_S = 10.0


class BenchmarkNetwork:
    """The two hops, and the ways to them: `near` on this machine, and `far` behind a line with a delay, if there is one."""

    def __init__(self, network: Network, near: Endpoint, far: Endpoint | None) -> None:
        self.network = network
        self.near = near
        self.far = far

    def environment(self, endpoint: Endpoint) -> dict[str, str]:
        """What a forwarder is told by its environment: a home folder of its own, and the gateway of that way."""
        return self.network.user.environment(
            PYTHONPATH=str(ROOT),
            INVOKE_GATEWAY=f"{LOOPBACK}:{endpoint.gateway_port}",
        )


@contextlib.contextmanager
def running(delay_ms: int) -> Iterator[BenchmarkNetwork]:
    """Everything that a forwarder needs, running while the body does; `delay_ms` is the round trip of the far line."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        stack.enter_context(privsep_dir())
        packages = folder / "packages"  # no Jupyter runs here
        packages.mkdir()
        network = Network(folder / "network", packages)
        stack.callback(network.close)
        # The guide's command runs a program on the gateway, which the tests' gateway does not let anybody.
        network.gateway.options = ("AllowTcpForwarding yes", network.environment())
        with _sigint_blocked():
            network.start()
            target_port = stack.enter_context(target())
            near = _endpoint(network, network.gateway.port, target_port, target_port)
            far = None
            if delay_ms:
                gateway_port = stack.enter_context(delayed(network.gateway.port, delay_ms))
                direct_port = stack.enter_context(delayed(target_port, delay_ms))
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
def target() -> Iterator[int]:
    """The port of the server that the tunnels lead to, which lives while the body runs."""
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.tunnels.load_server"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin and server.stdout  # as asked for
    with server:
        try:
            yield int(server.stdout.readline())
        finally:
            server.stdin.close()
            server.wait(END_TIMEOUT_S)


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Start programs that Ctrl-C leaves alone: they are ended in good order by the one that it ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
