"""What a login costs that `fab login` keeps and nobody uses: CPU time per minute and resident memory.

    uv run python -m benchmarks.held_login [--minutes N]

The gateway and the host are OpenSSH's sshd on this machine.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from threading import Event

import psutil

from tests.kit.cli import assert_success

from .jupyter_network import jupyter_network

MINUTE_S = 60.0


@contextlib.contextmanager
def held_login() -> Iterator[psutil.Process]:
    """The process that holds a login during the body."""
    with jupyter_network() as network:
        network.configure(notebook={"login_lifetime": 24 * 3600})
        assert_success(network.user.fab("login"))
        try:
            (process,) = network.processes(network.home)
            yield process
        finally:
            network.user.fab("logout")


def cpu_s(process: psutil.Process) -> float:
    """The CPU time that the process has used, in seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> int:
    """Print one line for each minute, and the mean."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=int, default=1, help="duration (default: 1)")
    args = parser.parse_args()
    with held_login() as process:
        first = last = cpu_s(process)
        started_at = time.monotonic()
        for minute in range(1, args.minutes + 1):
            Event().wait(started_at + minute * MINUTE_S - time.monotonic())
            current = cpu_s(process)
            memory = process.memory_info().rss / 1e6
            print(f"minute {minute:2}: {current - last:.2f} s of CPU, {memory:.1f} MB", flush=True)
            last = current
        print(f"mean: {(last - first) / args.minutes:.2f} s of CPU in a minute")
    return 0


if __name__ == "__main__":
    sys.exit(main())
