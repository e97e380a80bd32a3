"""A hint names commands exactly as the user has to type them, whichever program started the task."""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.kit.cli import BIN_DIR, ROOT, run

UV = [str(BIN_DIR / "uv"), "run", "--no-project"]


def command_in_hint(home: Path, typed: Sequence[str], task: Sequence[str], on_path: bool = True) -> str:
    """The text between backticks in the hint of a failing task, run as typed."""
    path = f"{BIN_DIR}:{os.environ['PATH']}" if on_path else "/usr/bin:/bin"
    result = run(
        *typed,
        *task,
        cwd=BIN_DIR.parent if typed[0].startswith("bin/") else ROOT,
        env={"HOME": str(home), "TMPDIR": str(home), "PATH": path, "VIRTUAL_ENV": sys.prefix},
        check=False,
    )
    match = re.search(r"^hint: .*?`([^`]*)`", result.stderr, re.MULTILINE)
    assert match, result.stdout + result.stderr
    return match[1]


@pytest.mark.parametrize(
    "typed",
    [["fab"], ["invoke"], ["inv"], ["notebooks"], [str(BIN_DIR / "fab")], [str(BIN_DIR / "invoke")]]
    + [["python", "-m", module] for module in ("fabric", "invoke", "notebooks_over_ssh")]
    + [[*UV, *program] for program in (["fab"], ["notebooks"], ["python", "-m", "fabric"])],
    ids=" ".join,
)
def test_program(tmp_path: Path, typed: list[str]) -> None:
    """A hint begins with what the user typed before the task: uv, a Python module, a path."""
    on_path = typed[0] != str(BIN_DIR / "fab")
    hint = command_in_hint(tmp_path, typed, ["status", "--editors"], on_path)
    # A path is not repeated if the program is on PATH.
    expected = ["invoke"] if typed == [str(BIN_DIR / "invoke")] else typed
    assert hint == " ".join([*expected, "up --detach --plain"])


@pytest.mark.parametrize(
    ("typed", "task", "expected"),
    [
        (["fab", "-H", "ashbury"], ["tunnel"], "fab -H ashbury serve"),
        (["fab", "-Hashbury", "-t", "5"], ["tunnel"], "fab -Hashbury serve"),
        (["fab", "--hosts=ashbury"], ["status", "--editors"], "fab --hosts=ashbury up --detach --plain"),
        (["invoke"], ["tunnel", "--host", "me@ashbury"], "invoke serve --host me@ashbury"),
        (["invoke"], ["tunnel", "--host=me@ashbury:22"], "invoke serve --host=me@ashbury:22"),
        (["fab", "-f", "{home}/a site.yaml"], ["tunnel"], "fab -f '{home}/a site.yaml' serve"),
        (["fab", "-i", "/a/key", "-t", "9"], ["tunnel"], "fab -i /a/key serve"),
        (["notebooks", "-H", "ashbury"], ["tunnel"], "notebooks -H ashbury serve"),
    ],
)  # fmt: skip
def test_options(tmp_path: Path, typed: list[str], task: list[str], expected: str) -> None:
    """A hint keeps the options that select the session, as they were typed."""
    (tmp_path / "a site.yaml").write_text("gateway: gate.example\n")
    words = [word.format(home=tmp_path) for word in typed]
    assert command_in_hint(tmp_path, words, task) == expected.format(home=tmp_path)


def test_uv_above_another_program(tmp_path: Path) -> None:
    """A program that uv did not start itself is not reported as one of uv's."""
    typed = [*UV, "sh", "-c", "fab status --editors; exit 1"]
    assert command_in_hint(tmp_path, typed, []) == "fab up --detach --plain"
