"""This project's tunnel beside others: how fast, how prompt and how cheap each of them is on one and the same path.

    uv run python -m benchmarks.tunnel [--quick] [--peer NAME]... [--delay-ms N] [--chart]

Everything runs on this machine: two sshd of OpenSSH as the gateway and the host, and a server behind them that is faster
than all. `ours` is this project's; `guide` the command that the guide has people type; `ssh-jump` OpenSSH at its
best, which all others are compared to; `fabric` and `asyncssh` what these libraries offer; `no-tunnel` the same without
any, which shows what the rest of the set-up could do. They take turns, so that a slow moment hits all alike, and the
numbers say something about each other only: another machine has others.
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
from .tunnels.competitors import NO_TUNNEL, PEERS, Forwarder
from .tunnels.endpoint import Endpoint
from .tunnels.load_server import ECHO
from .tunnels.metrics import FAR, FULL, IDLE, NEAR, QUICK, Measure, Profile
from .tunnels.network import BenchmarkNetwork, running
from .tunnels.results import Results
from .tunnels.table import table

CHART = ROOT / "docs" / "tunnel.svg"
# A peer that fails is a result like any other: what OpenSSH, Python and the waiting for them raise.
FAILURES = (OSError, RuntimeError, AssertionError, psutil.Error, subprocess.SubprocessError)


def measure_competitor(
    name: str,
    benchmark_network: BenchmarkNetwork,
    endpoint: Endpoint,
    measures: Sequence[Measure],
    profile: Profile,
    results: Results,
) -> None:
    """Start a peer, measure it, and end it; after a failure it begins anew."""
    with contextlib.closing(Forwarder(name, benchmark_network, endpoint)) as forwarder:
        for measure in measures:
            try:
                forwarder.start()
                results.add(name, measure.metrics, measure.run(forwarder, profile))
            except FAILURES as error:
                forwarder.close()
                results.fail(name, measure.metrics, reason(error, forwarder))


def idle(benchmark_network: BenchmarkNetwork, profile: Profile, results: Results) -> None:
    """Measure all at once what they use while nobody does anything, each with one connection open, as a notebook has."""
    with contextlib.ExitStack() as stack:
        begun: list[tuple[Forwarder, float]] = []
        for name in results.peers:
            forwarder = stack.enter_context(
                contextlib.closing(Forwarder(name, benchmark_network, benchmark_network.near))
            )
            try:
                forwarder.start()
                connection = stack.enter_context(workloads.opened(forwarder.port, ECHO))
                workloads.echo_rtt(connection)
            except FAILURES as error:
                results.fail(name, [IDLE], reason(error, forwarder))
            else:
                begun.append((forwarder, 0.0))
        Event().wait(1.0)  # what the opening left to do
        begun = [(forwarder, used) for forwarder, _ in begun if (used := forwarder.cpu_s()) is not None]
        Event().wait(profile.idle_s)
        for forwarder, before_s in begun:
            after_s = forwarder.cpu_s()
            if after_s is not None:
                results.add(forwarder.name, [IDLE], [(after_s - before_s) / profile.idle_s * 100])


def reason(error: Exception, forwarder: Forwarder) -> str:
    """Why a measure failed: what was raised, and the last that the peer said."""
    output = forwarder.log_tail()
    raised = str(error) or type(error).__name__
    return raised if not output or output in raised else f"{raised} ({output})"


def compare(names: Sequence[str], profile: Profile, delay_ms: int) -> Results:
    """Measure everything, in rounds in which each peer has its turn."""
    results = Results(names, profile.rounds)
    with running(delay_ms) as benchmark_network:
        for number in range(profile.rounds):
            turns = deque(names)
            turns.rotate(number)
            for name in turns:
                print(f"round {number + 1} of {profile.rounds}: {name}", file=sys.stderr, flush=True)
                measure_competitor(name, benchmark_network, benchmark_network.near, NEAR, profile, results)
                if benchmark_network.far is not None:
                    measure_competitor(name, benchmark_network, benchmark_network.far, FAR, profile, results)
        print(f"all of them idle for {profile.idle_s:.0f} s", file=sys.stderr, flush=True)
        idle(benchmark_network, profile, results)
    return results


def on_signal(number: int, frame: FrameType | None) -> None:
    """End what was started, once, however often one is told to."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    """Compare, and show what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="a look of less than a minute, not a measurement"
    )
    parser.add_argument(
        "--peer", action="append", choices=[*PEERS], help="only this one, and those of more --peer"
    )
    parser.add_argument(
        "--delay-ms",
        type=int,
        default=100,
        help="the round trip of the far line (default: 100; 0: no far line)",
    )
    parser.add_argument("--chart", action="store_true", help=f"write {CHART.relative_to(ROOT)} too")
    given = parser.parse_args()
    if not 0 <= given.delay_ms <= 1000:
        parser.error("--delay-ms must be from 0 to 1000")
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, on_signal)
    names = [NO_TUNNEL, *(name for name in PEERS if given.peer is None or name in given.peer)]
    profile = QUICK if given.quick else FULL
    try:
        results = compare(names, profile, given.delay_ms)
    except KeyboardInterrupt:
        print("ended before it was done", file=sys.stderr)
        return 130
    print(table(results, given.delay_ms))
    if given.chart:
        CHART.write_text(chart(results, given.delay_ms))
    return 0


if __name__ == "__main__":
    sys.exit(main())
