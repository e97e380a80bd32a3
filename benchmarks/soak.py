"""Soak test: whether the tunnel's resident memory grows under a mixed load.

    uv run python -m benchmarks.soak [--minutes N]

Everything runs on this machine: OpenSSH's sshd twice, as the gateway and the host, Jupyter on the host, and
`fab up --detach`. Each round opens connections, downloads on 1, 20 and 128 at once, uploads, and runs a cell that
prints over a kernel's websocket. Some connections stay open throughout, like those of a browser's page. A pause between
rounds keeps the machine usable.

The tunnel returns free memory to the system once a minute, so the minimum of each minute counts. The first WARM_UP
minutes do not count. Exits with 1 if the mean of the last WINDOW minutes exceeds TOLERANCE times that of the first
WINDOW minutes.
"""

import argparse
import contextlib
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from threading import Event

from tests.kit.cli import assert_success
from tests.kit.jupyter_client import Browser
from tests.kit.sshd import Network

from .child_server import run_server
from .jupyter_network import jupyter_network
from .tunnels import workloads
from .tunnels.load_server import ECHO

TOLERANCE = 1.05
MINUTE_S = 60.0
ROUND_INTERVAL_S = 8.0
WARM_UP, WINDOW = 2, 5  # minutes
TIMEOUT_S = 60.0  # for each workload of a round
IDLE_CONNECTIONS = 8
LINES = 300
PASSWORD = "a password of the benchmark"  # noqa: S105 # only for the server of this run


class BenchmarkNetwork:
    """A session with an open tunnel, which also forwards a port to the load server."""

    def __init__(self, network: Network, load_server_port: int) -> None:
        user = network.user
        assert_success(user.fab("secure", "--password-file", "-", stdin=f"{PASSWORD}\n"))
        assert_success(user.fab("up", "--detach", "--forward", str(load_server_port)))
        session = user.only_session()
        self.port: int = session["local_port"]
        self.load_server_port: int = session["extra_ports"][str(load_server_port)]
        self.certificate = user.certificate_pem(session["host"])
        (self._tunnel,) = (
            process
            for process in network.processes(network.home)
            if any(address.laddr.port == self.port for address in process.net_connections("tcp"))
        )

    def memory(self) -> float:
        """The resident set size of the tunnel's process, in MB."""
        return self._tunnel.memory_info().rss / 1e6

    def threads(self) -> int:
        return self._tunnel.num_threads()

    def descriptors(self) -> int:
        return self._tunnel.num_fds()


@contextlib.contextmanager
def run_session() -> Iterator[BenchmarkNetwork]:
    """Start a session, and stop it after the body."""
    with jupyter_network() as network, run_server("benchmarks.tunnels.load_server") as load_server_port:
        try:
            yield BenchmarkNetwork(network, load_server_port)
        finally:
            network.user.fab("stop", "--force")


def one_round(benchmark_network: BenchmarkNetwork, number: int) -> None:
    """Run the workloads of a round. Raises OSError, AssertionError."""
    workloads.connect_times(benchmark_network.load_server_port, 40, TIMEOUT_S)
    workloads.download(benchmark_network.load_server_port, workloads.Amount(40, TIMEOUT_S))
    workloads.concurrent_downloads(benchmark_network.load_server_port, 20, workloads.Amount(40, TIMEOUT_S))
    workloads.upload(benchmark_network.load_server_port, workloads.Amount(20, TIMEOUT_S))
    workloads.print_latency(benchmark_network.load_server_port, 10, TIMEOUT_S, 20)
    if number % 4 == 0:
        workloads.concurrent_downloads(
            benchmark_network.load_server_port, 128, workloads.Amount(64, TIMEOUT_S)
        )
    with Browser(benchmark_network.port, benchmark_network.certificate) as browser:
        assert browser.log_in(PASSWORD)
        kernels = browser.kernels()
        # One kernel for the whole run, because only the tunnel's memory matters.
        with browser.attach(kernels.pop(), TIMEOUT_S) if kernels else browser.kernel(TIMEOUT_S) as kernel:
            reply = kernel.run(f"for number in range({LINES}): print(number, flush=True)")
            assert len(reply.text.split()) == LINES
        for _ in range(10):
            assert browser.status("/tree") == 200


def soak(benchmark_network: BenchmarkNetwork, minutes: int) -> list[float]:
    """The minimum resident set size of each minute, in MB."""
    minima: list[float] = []
    samples: list[float] = []
    with contextlib.ExitStack() as stack:
        idle = [
            stack.enter_context(workloads.connect(benchmark_network.load_server_port, ECHO))
            for _ in range(IDLE_CONNECTIONS)
        ]
        started_at = time.monotonic()
        number = 0
        while len(minima) < minutes:
            round_started_at = time.monotonic()
            one_round(benchmark_network, number)
            for connection in idle:
                workloads.echo_rtt(connection)
            number += 1
            Event().wait(max(0.0, ROUND_INTERVAL_S - (time.monotonic() - round_started_at)))
            samples.append(benchmark_network.memory())
            if time.monotonic() - started_at >= (len(minima) + 1) * MINUTE_S:
                minima.append(min(samples))
                print(
                    f"minute {len(minima):3}  {number:4} rounds  {min(samples):6.1f} to {max(samples):.1f} MB"
                    f"  {benchmark_network.threads()} threads  {benchmark_network.descriptors()} descriptors",
                    flush=True,
                )
                samples.clear()
    return minima


def on_signal(*_: object) -> None:
    """Raise KeyboardInterrupt, and ignore further signals during the clean-up."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    """Run the load, and compare the first minutes with the last."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=int, default=30, help="duration (default: 30)")
    args = parser.parse_args()
    if args.minutes < WARM_UP + 2 * WINDOW:
        parser.error(f"--minutes must be at least {WARM_UP + 2 * WINDOW}")
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, on_signal)
    try:
        with run_session() as benchmark_network:
            print(f"{'':23} {benchmark_network.memory():6.1f} MB before any load", flush=True)
            minima = soak(benchmark_network, args.minutes)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except subprocess.SubprocessError as error:
        print(error, file=sys.stderr)
        return 1
    first, last = statistics.mean(minima[WARM_UP : WARM_UP + WINDOW]), statistics.mean(minima[-WINDOW:])
    print(f"minutes {WARM_UP + 1} to {WARM_UP + WINDOW}: {first:.1f} MB; the last {WINDOW}: {last:.1f} MB")
    return 0 if last <= first * TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
