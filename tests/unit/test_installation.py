"""The hint that adds the sandbox names the command of whatever installed this package."""

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from notebooks_over_ssh.util import installation

WHEEL = {"url": "file:///a%20b/notebooks_over_ssh-0.1.0-py3-none-any.whl", "archive_info": {}}
FROM_WHEEL = f"'notebooks-over-ssh[sandbox] @ {WHEEL['url']}'"


class Installed:
    """The metadata of the package, installed from somewhere."""

    def __init__(self, origin: Any) -> None:
        self._origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self._origin is None else json.dumps(self._origin)


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A virtual environment with the wheel, and without pip."""
    monkeypatch.setattr(installation, "_ROOT", tmp_path / "site-packages")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/venv/bin/python")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Installed(WHEEL))
    return tmp_path


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("uv-receipt.toml", f"uv tool install {FROM_WHEEL}"),
        ("pipx_metadata.json", f"pipx install --force {FROM_WHEEL}"),
        ("pyvenv.cfg", f"uv pip install --python /venv/bin/python {FROM_WHEEL}"),
    ],
)
def test_installer(prefix: Path, file: str, command: str) -> None:
    """The command is that of uv, pipx or uv's pip, whichever made the environment."""
    (prefix / file).touch()
    assert installation.sandbox_command() == command


def test_pip(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an environment with pip it is pip, run by the environment's own Python."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "pip" else None)
    monkeypatch.setattr(sys, "executable", "/my venv/bin/python")
    assert installation.sandbox_command() == f"'/my venv/bin/python' -m pip install {FROM_WHEEL}"


def test_uvx(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is added to an environment in uv's cache: the command runs in another one."""
    monkeypatch.setattr(sys, "prefix", "/home/me/.cache/uv/archive-v0/x")
    assert installation.sandbox_command() == f"uvx --from {FROM_WHEEL} notebooks"


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        (None, "'notebooks-over-ssh[sandbox]'"),
        (
            {"url": "https://git.example/n.git", "vcs_info": {"vcs": "git", "commit_id": "0a1b"}},
            "'notebooks-over-ssh[sandbox] @ git+https://git.example/n.git@0a1b'",
        ),
        ({"url": "file:///clone", "dir_info": {}}, "'notebooks-over-ssh[sandbox] @ file:///clone'"),
    ],
    ids=["index", "git", "folder"],
)
def test_origin(prefix: Path, monkeypatch: pytest.MonkeyPatch, origin: Any, requirement: str) -> None:
    """The package comes from where it came from."""
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Installed(origin))
    assert installation.sandbox_command().endswith(f" {requirement}")


def test_checkout() -> None:
    """In a checkout, uv installs everything."""
    assert installation.sandbox_command() == "uv sync"
