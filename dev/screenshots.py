"""`invoke -r dev screenshots`: updates the screenshots in docs/ with the browser tests."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.terminal import print_step, progress

ROOT = Path(__file__).resolve().parent.parent
OUTPUT_DIR = ROOT / "screenshots"
TARGETS = {"chromium-1-warning.png": "warning.png", "chromium-3-plot.png": "plot.png"}
MAX_BYTES = 150_000


def update() -> None:
    """Run the Chromium tests and copy two of their screenshots to docs/. Raises TaskError, with docs/ unchanged."""
    start_time = time.monotonic()
    shutil.rmtree(OUTPUT_DIR, ignore_errors=True)
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
            "the browser tests failed",
            hint="run pytest tests/e2e/browser; it needs chromium, chromium-driver and libnss3-tools",
            detail=tuple(run.stdout.splitlines()[-10:]),
        )
    large = [name for name in TARGETS if (OUTPUT_DIR / name).stat().st_size > MAX_BYTES]
    if large:
        raise TaskError(
            f"larger than {MAX_BYTES} bytes: {', '.join(large)}",
            hint="reduce the window size in the browser tests",
        )
    for name, target in TARGETS.items():
        shutil.copy(OUTPUT_DIR / name, ROOT / "docs" / target)
    print_step("project", f"updated {' and '.join(TARGETS.values())} in docs/", start_time)
