"""The environment of a project is found where uv and poetry themselves have created it."""

import shutil
from pathlib import Path

import pytest

from tests.kit.environments import enter
from tests.kit.project_environments import PROJECT, UV_PROJECT, install_with_poetry, sync_with_uv

SHELLS = [shell for shell in ("sh", "dash", "bash") if shutil.which(shell)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with a space in its path, and a Conda environment called `uv`."""
    home = tmp_path / "a home"
    conda = home / "miniconda3/envs/uv"
    (conda / "bin").mkdir(parents=True)
    (conda / "bin/python").symlink_to("/bin/true")
    return home


def make_project(folder: Path, pyproject: str) -> Path:
    """A folder with a pyproject.toml."""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(pyproject)
    return folder


@pytest.mark.parametrize("shell", SHELLS)
def test_uv(home: Path, shell: str) -> None:
    """`uv` is the environment that `uv sync` creates, from any folder of the project, and not a Conda environment of
    this name.
    """
    project = make_project(home / "the work", UV_PROJECT)
    (project / "week 1").mkdir()
    sync_with_uv(project, home)
    assert (project / ".venv/bin/python").exists()
    for directory in ("~/the work", "$HOME/the work/week 1", f"{project}/week 1/"):
        reply = enter(home, "uv", shell=shell, directory=directory)
        assert reply["VIRTUAL_ENV"] == f"{project}/.venv"
        assert reply["python"] == f"{project}/.venv/bin/python"
        assert str(reply["PATH"]).startswith(f"{project}/.venv/bin:")


def test_uv_workspace(home: Path) -> None:
    """The members of a workspace share its root's environment; a project inside that is no workspace has its own."""
    root = make_project(home / "work", f'{UV_PROJECT}\n[tool.uv.workspace]\nmembers = ["parts/*"]\n')
    member = make_project(root / "parts/one", UV_PROJECT.replace("work", "one"))
    sync_with_uv(member, home)
    assert not (member / ".venv").exists()
    assert enter(home, "uv", directory="~/work/parts/one")["VIRTUAL_ENV"] == f"{root}/.venv"
    outer = make_project(home / "outer", UV_PROJECT)
    inner = make_project(outer / "inner", UV_PROJECT)
    sync_with_uv(outer, home)
    assert enter(home, "uv", directory="~/outer/inner")["reason"] == str(inner)
    sync_with_uv(inner, home)
    assert enter(home, "uv", directory="~/outer/inner")["VIRTUAL_ENV"] == f"{inner}/.venv"


@pytest.mark.parametrize("value", ["environments/mine", "{home}/mine"])
def test_uv_project_environment(home: Path, value: str) -> None:
    """The login's UV_PROJECT_ENVIRONMENT is followed: a path, or one relative to the project."""
    project = make_project(home / "work", UV_PROJECT)
    (project / "week 1").mkdir()
    variables = {"UV_PROJECT_ENVIRONMENT": value.format(home=home)}
    sync_with_uv(project, home, **variables)
    reply = enter(home, "uv", directory="~/work/week 1", variables=variables)
    assert reply["VIRTUAL_ENV"] == str(project / value.format(home=home))


def test_missing_uv_environment(home: Path) -> None:
    """Without a project, and before `uv sync`, the refusal lists what is there; a Conda environment called `uv` by its
    path.
    """
    (home / "elsewhere").mkdir()
    conda = str(home / "miniconda3/envs/uv")
    reply = enter(home, "uv", directory="~/elsewhere")
    assert reply == {"problem": "project-missing", "reason": "", "alternatives": [conda], "log": []}
    assert enter(home, "uv", directory="~/no such folder")["problem"] == "project-missing"
    project = make_project(home / "work", UV_PROJECT)
    reply = enter(home, "uv", directory="~/work")
    assert reply == {
        "problem": "project-environment-missing",
        "reason": str(project),
        "alternatives": [conda],
        "log": [],
    }
    sync_with_uv(project, home)
    assert enter(home, "mlp", directory="~/work")["alternatives"] == [conda, "uv"]


def test_inaccessible_conda_environment_of_that_name(home: Path) -> None:
    """A folder without permission in a Conda environment called `uv` is not what a project lacks."""
    make_project(home / "work", UV_PROJECT)
    (home / "miniconda3/envs/uv/bin/python").unlink()
    (home / "miniconda3/envs/uv/bin/python").touch(mode=0o644)
    assert enter(home, "uv", directory="~/work")["problem"] == "project-environment-missing"
    (home / "work/.venv/bin").mkdir(parents=True)
    (home / "work/.venv/bin/python").touch(mode=0o644)
    reply = enter(home, "uv", directory="~/work")
    assert reply["problem"] == "environment-inaccessible"
    assert reply["alternatives"] == [f"{home}/work/.venv/bin/python"]


@pytest.mark.parametrize("in_project", ["true", "false"])
def test_poetry(home: Path, poetry: Path, in_project: str) -> None:
    """`poetry` is the environment that `poetry install` creates, in its cache or in the project, even if the login has
    another one active.
    """
    project = make_project(home / "the work", PROJECT)
    (project / "week 1").mkdir()
    variables = {"POETRY_VIRTUALENVS_IN_PROJECT": in_project}
    install_with_poetry(poetry, project, home, **variables)
    assert (project / ".venv").exists() == (in_project == "true")
    (home / ".local/bin").mkdir(parents=True)
    (home / ".local/bin/poetry").symlink_to(poetry)
    active = {"CONDA_PREFIX": str(home / "miniconda3/envs/uv"), "CONDA_DEFAULT_ENV": "uv"}
    reply = enter(home, "poetry", directory="~/the work/week 1", variables=variables | active)
    folder = project if in_project == "true" else home / ".cache/pypoetry/virtualenvs"
    assert Path(reply["VIRTUAL_ENV"]).parent == folder
    assert reply["python"] == f"{reply['VIRTUAL_ENV']}/bin/python"


def test_missing_poetry_environment(home: Path, poetry: Path) -> None:
    """Without poetry, and before `poetry install`, the refusal says which is missing."""
    project = make_project(home / "work", PROJECT)
    assert enter(home, "poetry", directory="~/work")["problem"] == "poetry-missing"
    path = {"PATH": f"{poetry.parent}:/usr/bin:/bin"}
    reply = enter(home, "poetry", directory="~/work", variables=path)
    assert (reply["problem"], reply["reason"]) == ("project-environment-missing", str(project))
