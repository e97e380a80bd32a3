"""Commands in messages can be typed as they are."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from notebooks_over_ssh.collection import namespace
from notebooks_over_ssh.util import command_hint
from tests.kit.cli import ROOT


def test_task_without_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named host is left out for tasks without a host."""
    monkeypatch.setattr(command_hint, "_invocation", command_hint.Invocation("fab", "-H a", ""))
    commands = [command_hint.command(task) for task in ("stop", "stop --all", "status", "sandbox.stop")]
    assert commands == ["`fab -H a stop`", "`fab stop --all`", "`fab status`", "`fab sandbox.stop`"]


TASKS = (*namespace.task_names, "fab", "invoke", "inv", "notebooks")
NAMES_COMMAND = re.compile(rf"`({'|'.join(map(re.escape, TASKS))})\b")


def texts(path: Path) -> Iterator[str]:
    """The strings of a module without its docstrings."""
    tree = ast.parse(path.read_text())
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements:
            yield node.value


def test_no_literal_commands() -> None:
    """Every command between backticks in a message comes from the one function."""
    modules = (ROOT / "notebooks_over_ssh").rglob("*.py")
    literals = [(path.name, text) for path in modules for text in texts(path) if NAMES_COMMAND.search(text)]
    assert not literals


def test_no_task() -> None:
    """`fab` alone, which runs the default task, is parsed."""
    assert command_hint._parse(["fab"], [sys.executable, "fab"])


def test_host_and_site() -> None:
    """The host and the site after the task are repeated, in any spelling, and no other flag is."""
    argv = ["fab", "up", "--detach", "--host=a", "-s", "my site.yaml", "--open", "x"]
    assert command_hint._parse(argv, [sys.executable, *argv]).host_flags == "--host=a -s 'my site.yaml'"
