"""Projects whose environments uv and poetry themselves create."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.kit.cli import run

PROJECT = """\
[project]
name = "work"
version = "1"
requires-python = ">=3.11"
"""
UV_PROJECT = f"{PROJECT}\n[tool.uv]\npackage = false\n"


def sync_with_uv(folder: Path, home: Path, **variables: str) -> None:
    """Run `uv sync` in a project, which creates its environment with the tests' own Python."""
    uv = [sys.executable, "-m", "uv", "sync", "--quiet", "--offline", "--python", sys.executable]
    _run(uv, folder, home, variables)


def install_with_poetry(poetry: Path, folder: Path, home: Path, **variables: str) -> None:
    """Run `poetry install` in a project, which creates its environment with the tests' own Python."""
    _run([poetry, "--no-interaction", "install", "--no-root"], folder, home, variables)


def _run(command: Sequence[str | Path], folder: Path, home: Path, variables: dict[str, str]) -> None:
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "TMPDIR": str(home)}
    run(*command, cwd=folder, env=environment | variables)
