"""What keeps start_server.py from starting a server, and what it leaves for later programs."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

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


def test_program_that_others_can_change(
    import_remote: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program of the server is checked wherever PATH has it, and nothing is started if others can change it."""
    program: Any = import_remote("start_server")
    folder = tmp_path / "bin"
    folder.mkdir(mode=0o755)
    jupyter = SimpleNamespace(
        version="7",
        folder=str(tmp_path / "jupyter"),
        reads_working_directory=False,
        read_config=dict,
        certificate_paths=lambda config: ("", ""),
        password_problem=lambda config: "",
        find_insecure_settings=lambda config: [],
    )
    monkeypatch.setattr(program, "Jupyter", lambda application: jupyter)
    monkeypatch.setattr(program, "check_certificate", lambda certificate, key: ("", ""))
    monkeypatch.setattr(shutil, "which", lambda name: str(folder / name))
    # Only what is added to the folders of Jupyter itself, which other tests check.
    for name in ("config_folders", "data_folders", "python_paths"):
        monkeypatch.setattr(program.exposure, name, lambda *arguments: [])
    (folder / "jupyter-notebook").touch(mode=0o755)
    (tmp_path / "state").mkdir()
    server = SimpleNamespace(folder=str(tmp_path / "state"))
    parameters = {"application": "notebook", "directory": str(tmp_path), "prefix": []}
    assert program.prepare(server, parameters)[0] is None
    folder.chmod(0o757)
    reply, launch = program.prepare(server, parameters)
    assert (reply["problem"], reply["path"], launch) == ("exposed", str(folder), None)
