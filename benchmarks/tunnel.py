"""Compares the throughput, latency, CPU time and memory of this project's tunnel with those of other SSH clients.

    uv run python -m benchmarks.tunnel [--quick] [--competitor NAME]... [--delay-ms N] [--cipher NAME] [--chart]

Everything runs on this machine: OpenSSH's sshd twice, as the gateway and the host, and a load server behind them. The
competitors are:

    ours        this project's tunnel
    guide       the command in the guide
    ssh-jump    OpenSSH at its fastest, the baseline
    fabric      Fabric's forwarding
    asyncssh    asyncssh's forwarding
    no-tunnel   a direct connection, which shows the limit of the set-up

They take turns, so that a slow moment affects all of them. Compare values of one run only: they depend on the machine.
"""

import argparse
import contextlib
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from types import FrameType

import psutil

ROOT = Path(__file__).resolve().parents[1]
from .tunnels import workloads
from .tunnels.chart import chart
from .tunnels.competitors import COMPETITORS, NO_TUNNEL, Forwarder
from .tunnels.endpoint import Endpoint
from .tunnels.load_server import ECHO
from .tunnels.metrics import FAR, FULL, IDLE, NEAR, QUICK, Measurement, Profile
from .tunnels.network import BenchmarkNetwork, run_network
from .tunnels.results import Results
from .tunnels.table import table

CHART = ROOT / "docs" / "tunnel.svg"
# The failure of a competitor is a result too. It can come from OpenSSH, from Python or from a wait that timed out.
ERRORS = (OSError, RuntimeError, AssertionError, psutil.Error, subprocess.SubprocessError)


def measure_competitor(
    name: str,
    benchmark_network: BenchmarkNetwork,
    endpoint: Endpoint,
    measurements: Sequence[Measurement],
    profile: Profile,
    results: Results,
) -> None:
    """Start a competitor, measure it and stop it; restart it after a failure."""
    with contextlib.closing(Forwarder(name, benchmark_network, endpoint)) as forwarder:
        for measurement in measurements:
            try:
                forwarder.start()
                results.add(name, measurement.metrics, measurement.run(forwarder, profile))
            except ERRORS as error:
                forwarder.close()
                results.fail(name, measurement.metrics, describe(error, forwarder))


def measure_idle(benchmark_network: BenchmarkNetwork, profile: Profile, results: Results) -> None:
    """Measure the CPU time of all competitors at once, each with one idle connection."""
    with contextlib.ExitStack() as stack:
        started: list[tuple[Forwarder, float]] = []
        for name in results.competitors:
            forwarder = stack.enter_context(
                contextlib.closing(Forwarder(name, benchmark_network, benchmark_network.near))
            )
            try:
                forwarder.start()
                connection = stack.enter_context(workloads.connect(forwarder.port, ECHO))
                workloads.echo_rtt(connection)
            except ERRORS as error:
                results.fail(name, [IDLE], describe(error, forwarder))
            else:
                started.append((forwarder, 0.0))
        Event().wait(1.0)  # for work left over from connecting
        started = [(forwarder, used) for forwarder, _ in started if (used := forwarder.cpu_s()) is not None]
        Event().wait(profile.idle_s)
        for forwarder, before_s in started:
            after_s = forwarder.cpu_s()
            if after_s is not None:
                results.add(forwarder.name, [IDLE], [(after_s - before_s) / profile.idle_s * 100])


def describe(error: Exception, forwarder: Forwarder) -> str:
    """The message of an error, with the last line of the competitor's log."""
    log_tail = forwarder.log_tail()
    message = str(error) or type(error).__name__
    return message if not log_tail or log_tail in message else f"{message} ({log_tail})"


def compare(names: Sequence[str], profile: Profile, delay_ms: int, cipher: str | None) -> Results:
    """Measure all competitors in turn, once per round."""
    results = Results(names, profile.rounds)
    with run_network(delay_ms, cipher) as benchmark_network:
        for number in range(profile.rounds):
            order = deque(names)
            order.rotate(number)
            for name in order:
                print(f"round {number + 1} of {profile.rounds}: {name}", file=sys.stderr, flush=True)
                measure_competitor(name, benchmark_network, benchmark_network.near, NEAR, profile, results)
                if benchmark_network.far is not None:
                    measure_competitor(name, benchmark_network, benchmark_network.far, FAR, profile, results)
        print(f"all competitors idle for {profile.idle_s:.0f} s", file=sys.stderr, flush=True)
        measure_idle(benchmark_network, profile, results)
    return results


def on_signal(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, and ignore further signals during the clean-up."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    """Parse the options, measure, and print the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="small workloads in one round, to check that everything works"
    )
    parser.add_argument(
        "--competitor", action="append", choices=[*COMPETITORS], help="measure only this one; repeatable"
    )
    parser.add_argument(
        "--delay-ms",
        type=int,
        default=100,
        help="round trip to the far endpoint (default: 100; 0: none)",
    )
    parser.add_argument("--cipher", help="the only cipher that both servers allow (default: OpenSSH's list)")
    parser.add_argument("--chart", action="store_true", help=f"also write {CHART.relative_to(ROOT)}")
    args = parser.parse_args()
    if not 0 <= args.delay_ms <= 1000:
        parser.error("--delay-ms must be from 0 to 1000")
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, on_signal)
    names = [NO_TUNNEL, *(name for name in COMPETITORS if args.competitor is None or name in args.competitor)]
    profile = QUICK if args.quick else FULL
    try:
        results = compare(names, profile, args.delay_ms, args.cipher)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(table(results, args.delay_ms))
    if args.chart:
        CHART.write_text(chart(results, args.delay_ms))
    return 0


if __name__ == "__main__":
    sys.exit(main())
