"""Projects whose environments uv and poetry themselves create."""

import os
import subprocess
import sys
from pathlib import Path

from tests.kit.wait import TIMEOUT_S

PROJECT = """\
[project]
name = "work"
version = "1"
requires-python = ">=3.11"
"""
UV_PROJECT = f"{PROJECT}\n[tool.uv]\npackage = false\n"


def sync_with_uv(folder: Path, home: Path, **variables: str) -> None:
    """Run `uv sync` in a project, which creates its environment with the tests' own Python."""
    _run(
        [sys.executable, "-m", "uv", "sync", "--quiet", "--offline", "--python", sys.executable],
        folder,
        home,
        variables,
    )


def install_with_poetry(poetry: Path, folder: Path, home: Path, **variables: str) -> None:
    """Run `poetry install` in a project, which creates its environment with the tests' own Python."""
    _run([poetry, "--no-interaction", "install", "--no-root"], folder, home, variables)


def _run(command: list[str | Path], folder: Path, home: Path, variables: dict[str, str]) -> None:
    result = subprocess.run(
        command,
        cwd=folder,
        env={"HOME": str(home), "PATH": os.environ["PATH"], "TMPDIR": str(home), **variables},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
