"""-r dev screenshots: the pictures of docs/, taken by the tests of the browsers."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.terminal import print_step, progress

ROOT = Path(__file__).resolve().parent.parent
TAKEN = ROOT / "screenshots"
KEPT = {"chromium-1-warning.png": "warning.png", "chromium-3-plot.png": "plot.png"}
MOST_BYTES = 150_000


def take() -> None:
    """Run the story in Chromium and keep two of its pictures in docs/. Raises TaskError, with docs/ as it was."""
    start_time = time.monotonic()
    shutil.rmtree(TAKEN, ignore_errors=True)
    with progress("project", "taking screenshots"):
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "tests/e2e/browser", "-k", "chromium and plot"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    if run.returncode:
        raise TaskError(
            "the story in the browser has failed",
            hint="pytest tests/e2e/browser shows how; it needs chromium, chromium-driver and libnss3-tools",
            detail=tuple(run.stdout.splitlines()[-10:]),
        )
    large = [name for name in KEPT if (TAKEN / name).stat().st_size > MOST_BYTES]
    if large:
        raise TaskError(
            f"{', '.join(large)} is larger than {MOST_BYTES} bytes", hint="make the window smaller"
        )
    for name, kept in KEPT.items():
        shutil.copy(TAKEN / name, ROOT / "docs" / kept)
    print_step("project", f"docs/ has {' and '.join(KEPT.values())}", start_time)
