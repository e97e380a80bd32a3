"""The folder in which the server starts: what its setting means, and whether Jupyter can start there."""

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def common(import_remote: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HOME", "/home/me")
    return import_remote("common")


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ("~", "/home/me"),
        ("~/x", "/home/me/x"),
        ("$HOME", "/home/me"),
        ("$HOME/x", "/home/me/x"),
        ("${HOME}", "/home/me"),
        ("${HOME}/x/y", "/home/me/x/y"),
        ("/data", "/data"),
        ("$HOMES/x", "$HOMES/x"),
        ("/data/$HOME", "/data/$HOME"),
        ("$SCRATCH/x", "$SCRATCH/x"),
        ("$(id)", "$(id)"),
    ],
)
def test_home_folder(common: Any, setting: str, path: str) -> None:
    """`~`, `$HOME` and `${HOME}` at the beginning are the home folder, and nothing else is replaced."""
    assert common.directory_path(setting) == path


@pytest.mark.parametrize(
    ("allowed", "problem"),
    [
        (os.R_OK | os.W_OK | os.X_OK, None),
        (os.R_OK | os.X_OK, None),
        (os.R_OK, "directory-inaccessible"),
        (os.X_OK, "directory-inaccessible"),
        (0, "directory-inaccessible"),
    ],
)
def test_permission(
    common: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int, problem: str | None
) -> None:
    """Jupyter can start in a folder that it may read and enter; it need not be able to write there."""
    monkeypatch.setattr(os, "access", lambda path, mode: mode & ~allowed == 0)
    reply = common.directory_problem(str(tmp_path))
    assert reply == (problem and {"problem": problem, "directory": str(tmp_path)})


@pytest.mark.parametrize(
    ("path", "existing"),
    [("{}/a/b", "{}"), ("{}/file", "{}"), ("{}/file/x", "{}"), ("/no such folder", "/"), ("relative", "")],
)
def test_missing(common: Any, tmp_path: Path, path: str, existing: str) -> None:
    """Of a folder that is missing, or that is a file, the part of its path that exists is reported."""
    (tmp_path / "file").touch()
    directory = path.format(tmp_path)
    assert common.directory_problem(directory) == {
        "problem": "directory-missing",
        "directory": directory,
        "path": existing.format(tmp_path),
    }


@pytest.mark.parametrize("case", ["missing", "inaccessible", "there"])
def test_before_a_password(
    import_remote: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """`secure` learns that the server cannot start in its folder before it reads, and makes up, any password."""
    program: Any = import_remote("security_status")
    replies: list[dict[str, Any]] = []

    class ReadTooEarly(Exception):
        """The configuration was read."""

    class Jupyter:
        version = "7"

        def read_config(self) -> None:
            raise ReadTooEarly

    monkeypatch.setattr(program, "reply", lambda **fields: replies.append(fields))
    monkeypatch.setattr(program, "Jupyter", lambda application: Jupyter())
    monkeypatch.setattr(program.exposure, "find_exposed", lambda *paths: [])
    monkeypatch.setenv("HOME", str(tmp_path))
    if case == "inaccessible":
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    parameters = {"application": "notebook", "directory": "~/x" if case == "missing" else "$HOME"}
    if case == "there":
        with pytest.raises(ReadTooEarly):
            program.main(parameters)
    else:
        program.main(parameters)
        assert [reply["problem"] for reply in replies] == [f"directory-{case}"]
