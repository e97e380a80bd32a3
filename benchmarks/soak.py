"""Whether the tunnel's memory grows under a mixed load: its resident set, once a minute.

    uv run python -m benchmarks.soak [--minutes N]

Everything runs on this machine: two sshd of OpenSSH as the gateway and the host, the Jupyter of this project on the host,
and `fab up --detach`. Each round opens connections, moves data on 1, 20 and 128 of them at once in either direction, and
runs a cell that prints over a kernel's websocket; some connections stay open all along, as those of a page do. Rounds
are paced, so that the machine stays of use for other things. The tunnel gives free memory back once a minute, so the
least of each minute counts. Ends with 1 where the last five minutes need more than TOLERANCE times the memory of five
minutes after the first two, in which everything is imported and used once.
"""

import argparse
import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from tests.kit.cli import assert_success
from tests.kit.jupyter_client import Browser
from tests.kit.sshd import Network, prepare_packages, privsep_dir

from .tunnels import workloads
from .tunnels.load_server import ECHO
from .tunnels.network import target

TOLERANCE = 1.05
MINUTE = 60.0
ROUND_EVERY = 8.0  # seconds
WARM_UP, WINDOW = 2, 5  # minutes
LIMIT = 60.0  # seconds, for one of the transfers of a round
KEPT_OPEN = 8
LINES = 300
PASSWORD = "a password of the benchmark"  # noqa: S105 # of a server that lives while this runs


class BenchmarkNetwork:
    """A session with an open tunnel, a further port of which leads to the benchmarks' own server."""

    def __init__(self, network: Network, target_port: int) -> None:
        user = network.user
        assert_success(user.fab("secure", "--password-file", "-", stdin=f"{PASSWORD}\n"))
        assert_success(user.fab("up", "--detach", "--forward", str(target_port)))
        session = user.only_session()
        self.port: int = session["local_port"]
        self.target: int = session["also"][str(target_port)]
        self.certificate = user.certificate_pem(session["host"])
        (self._tunnel,) = (
            process
            for process in network.processes(network.home)
            if any(address.laddr.port == self.port for address in process.net_connections("tcp"))
        )

    def memory(self) -> float:
        """The resident set of the tunnel's process, in MB."""
        return self._tunnel.memory_info().rss / 1e6

    def threads(self) -> int:
        return self._tunnel.num_threads()

    def descriptors(self) -> int:
        return self._tunnel.num_fds()


@contextlib.contextmanager
def running() -> Iterator[BenchmarkNetwork]:
    """The session, which is stopped in the end."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        stack.enter_context(privsep_dir())
        packages = folder / "packages"
        packages.mkdir()
        prepare_packages(packages)
        network = Network(folder / "network", packages)
        stack.callback(network.close)
        network.start()
        target_port = stack.enter_context(target())
        stack.callback(network.user.fab, "stop", "--force")
        yield BenchmarkNetwork(network, target_port)


def one_round(benchmark_network: BenchmarkNetwork, number: int) -> None:
    """The load of a round. Raises OSError, AssertionError."""
    workloads.openings(benchmark_network.target, 40, LIMIT)
    workloads.download(benchmark_network.target, workloads.Amount(40, LIMIT))
    workloads.download_on_many(benchmark_network.target, 20, workloads.Amount(40, LIMIT))
    workloads.upload(benchmark_network.target, workloads.Amount(20, LIMIT))
    workloads.print_latency(benchmark_network.target, 10, LIMIT, 20)
    if number % 4 == 0:
        workloads.download_on_many(benchmark_network.target, 128, workloads.Amount(64, LIMIT))
    with Browser(benchmark_network.port, benchmark_network.certificate) as browser:
        assert browser.log_in(PASSWORD)
        kernels = browser.kernels()
        # One kernel serves the whole run: it is the tunnel that is measured.
        with browser.attach(kernels.pop(), LIMIT) if kernels else browser.kernel(LIMIT) as kernel:
            reply = kernel.run(f"for number in range({LINES}): print(number, flush=True)")
            assert len(reply.text.split()) == LINES
        for _ in range(10):
            assert browser.status("/tree") == 200


def soak(benchmark_network: BenchmarkNetwork, minutes: int) -> list[float]:
    """The least resident set of each minute, in MB."""
    values: list[float] = []
    seen: list[float] = []
    with contextlib.ExitStack() as stack:
        kept = [
            stack.enter_context(workloads.opened(benchmark_network.target, ECHO)) for _ in range(KEPT_OPEN)
        ]
        started_at = time.monotonic()
        number = 0
        while len(values) < minutes:
            round_began = time.monotonic()
            one_round(benchmark_network, number)
            for connection in kept:
                workloads.echo_rtt(connection)
            number += 1
            Event().wait(max(0.0, ROUND_EVERY - (time.monotonic() - round_began)))
            seen.append(benchmark_network.memory())
            if time.monotonic() - started_at >= (len(values) + 1) * MINUTE:
                values.append(min(seen))
                print(
                    f"minute {len(values):3}  {number:4} rounds  {min(seen):6.1f} to {max(seen):.1f} MB"
                    f"  {benchmark_network.threads()} threads  {benchmark_network.descriptors()} descriptors",
                    flush=True,
                )
                seen.clear()
    return values


def interrupted(*_: object) -> None:
    """End what was started."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    """Soak, and compare the beginning with the end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=int, default=30, help="how long (default: 30)")
    given = parser.parse_args()
    if given.minutes < WARM_UP + 2 * WINDOW:
        parser.error(f"--minutes must be at least {WARM_UP + 2 * WINDOW}")
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, interrupted)
    try:
        with running() as benchmark_network:
            print(f"{'':23} {benchmark_network.memory():6.1f} MB before any load", flush=True)
            values = soak(benchmark_network, given.minutes)
    except KeyboardInterrupt:
        print("ended before it was done", file=sys.stderr)
        return 130
    except subprocess.SubprocessError as error:
        print(error, file=sys.stderr)
        return 1
    first, last = statistics.mean(values[WARM_UP : WARM_UP + WINDOW]), statistics.mean(values[-WINDOW:])
    print(f"minutes {WARM_UP + 1} to {WARM_UP + WINDOW}: {first:.1f} MB; the last {WINDOW}: {last:.1f} MB")
    return 0 if last <= first * TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
