"""Compares the throughput of a tunnel over its own connections with that over the login of an OpenSSH master.

    uv run python -m benchmarks.masters [--delay-ms N] [--rounds N]

They take turns, with `ssh -J` beside them. Compare values of one run only: they depend on the machine.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
from pathlib import Path

from tests.kit.openssh_master import ssh_master

from .tunnels import workloads
from .tunnels.competitors import BASELINE, Forwarder
from .tunnels.network import BenchmarkNetwork, run_network

AMOUNT = workloads.Amount(400, 12.0)
WORKLOADS = {"download": workloads.download, "upload": workloads.upload}
OURS = "ours"

Results = dict[str, dict[str, list[float]]]


def measure(title: str, competitor: str, network: BenchmarkNetwork, results: Results) -> None:
    """Add the throughput of each workload at the far endpoint, in MB/s."""
    assert network.far is not None
    with contextlib.closing(Forwarder(competitor, network, network.far)) as forwarder:
        forwarder.start()
        for workload, transfer in WORKLOADS.items():
            values = results.setdefault(workload, {}).setdefault(title, [])
            values.append(transfer(forwarder.port, AMOUNT).megabytes_per_s)


def measure_with_masters(network: BenchmarkNetwork, results: Results) -> None:
    """As `measure`, with a master for the gateway, then with one for the host."""
    assert network.far is not None
    config = network.network.home / ".ssh" / "config"
    ports = {"gateway": network.far.gateway_port, "host": network.far.host_port}
    with tempfile.TemporaryDirectory(prefix="masters-") as sockets:
        config.write_text(f"Host *\n    ControlPath {sockets}/%p\n")
        for hop, port in ports.items():
            with ssh_master(hop, Path(network.far.ssh_config), Path(sockets) / str(port)):
                measure(f"{OURS}, master of the {hop}", OURS, network, results)
        config.unlink()


def main() -> int:
    """Measure, and print the medians and their ratios to the first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--delay-ms", type=int, default=400, help="round trip to the gateway (default: 400)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    args = parser.parse_args()
    if not 1 <= args.delay_ms <= 1000:
        parser.error("--delay-ms must be from 1 to 1000")
    results: Results = {}
    with run_network(args.delay_ms) as network:
        for _ in range(args.rounds):
            measure(OURS, OURS, network, results)
            measure_with_masters(network, results)
            measure(BASELINE, BASELINE, network, results)
    for workload, titles in results.items():
        first = statistics.median(titles[OURS])
        for title, values in titles.items():
            median = statistics.median(values)
            print(f"{workload:8}  {title:28} {median:6.1f} MB/s, x {median / first:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
