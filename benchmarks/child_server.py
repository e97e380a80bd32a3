"""Servers of the benchmarks that run as child processes."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXIT_TIMEOUT_S = 10.0


@contextlib.contextmanager
def run_server(module: str, *arguments: str) -> Iterator[int]:
    """Run a module while the body runs, and yield the port that it prints; it exits when its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    with process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(EXIT_TIMEOUT_S)
