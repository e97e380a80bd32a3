"""Ctrl-C at any moment from the first line of this project's code to the end of Python."""

import signal
import subprocess
from pathlib import Path

import pytest

from tests.kit.cli import BIN_DIR, ROOT, User, assert_success
from tests.kit.wait import TIMEOUT_S

# Python imports this first. It counts the lines that run from the import of the collection on, in this project and its
# libraries, and sends itself SIGINT at the line with the number in AT.
COUNTING = f"""
import atexit, os, signal, sys

FIRST = {str(ROOT / "notebooks_over_ssh/collection.py")!r}
COUNTED = (os.sep + "notebooks_over_ssh" + os.sep, os.sep + "invoke" + os.sep, os.sep + "filelock" + os.sep)
at = int(os.environ["AT"])
lines = 0


def trace(frame, event, argument):
    global lines
    name = frame.f_code.co_filename
    if name == FIRST or (lines and any(part in name for part in COUNTED)):
        frame.f_trace = count
        return count


def count(frame, event, argument):
    global lines
    if event == "line":
        lines += 1
        if lines == at:
            os.kill(os.getpid(), signal.SIGINT)
    return count


def end():
    sys.settrace(None)
    if at == -1:
        os.kill(os.getpid(), signal.SIGINT)
    with open(os.environ["COUNT"], "w") as file:
        file.write(str(lines))


atexit.register(end)
sys.settrace(trace)
"""
POINTS = 8


@pytest.fixture
def counting(tmp_path: Path) -> Path:
    """A folder with a sitecustomize module that counts lines."""
    (tmp_path / "sitecustomize.py").write_text(COUNTING)
    return tmp_path


def run(
    user: User, counting: Path, program: str, at: int, *, ignored: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run `status` and send SIGINT at that line; 0: never, -1: in the last exit handler of Python."""

    def dispositions() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL)

    return subprocess.run(
        [BIN_DIR / program, "status"],
        cwd=ROOT,
        env=user.environment(PYTHONPATH=str(counting), AT=str(at), COUNT=str(counting / "count")),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        preexec_fn=dispositions,  # nothing else runs between fork and exec
    )


@pytest.mark.parametrize("program", ["fab", "invoke"])
def test_at_any_line(idle_user: User, counting: Path, program: str) -> None:
    """At every line, Ctrl-C prints one word, exits with 130, and never shows a traceback."""
    assert_success(run(idle_user, counting, program, 0))
    lines = int((counting / "count").read_text())
    assert lines > 1000
    points = sorted({round(lines ** (number / POINTS)) for number in range(POINTS)})
    points += [lines * number // POINTS for number in range(1, POINTS)] + [lines - 1, -1]
    for point in points:
        result = run(idle_user, counting, program, point)
        assert result.stderr == "interrupted\n", f"at line {point} of {lines}: {result.stderr}"
        assert result.returncode == 130, f"at line {point} of {lines}: {result.returncode}"


@pytest.mark.parametrize("at", [2, -1])
def test_ignored_sigint(idle_user: User, counting: Path, at: int) -> None:
    """A SIGINT that is ignored, as in a script's background job, stays ignored."""
    result = assert_success(run(idle_user, counting, "fab", at, ignored=True))
    assert result.stderr == ""
