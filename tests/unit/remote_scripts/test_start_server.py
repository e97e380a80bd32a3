"""What start_server.py leaves for later programs."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest


@pytest.mark.parametrize(
    ("text", "is_linked"),
    [("#!/bin/sh\n", True), ('#!/bin/sh\n[ -n "$LD_LIBRARY_PATH" ]\n', False)],
    ids=["works anywhere", "needs a variable"],
)
def test_python_link(
    import_remote: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    text: str,
    is_linked: bool,
) -> None:
    """The server's Python is linked for `stop` and `status`, unless it works only with the variables of a module."""
    python = tmp_path / "a python"
    python.write_text(text)
    python.chmod(0o755)
    start_server = import_remote("start_server")
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    link = tmp_path / "python"
    link.symlink_to("/an earlier one")
    start_server.link_python(SimpleNamespace(folder=str(tmp_path)))
    assert link.is_symlink() == is_linked
