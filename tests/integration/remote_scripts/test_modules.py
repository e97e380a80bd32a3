"""Modules are loaded before the environment is entered, with the host's own Lmod or Environment Modules."""

import shutil
from pathlib import Path

import pytest

from tests.kit.environments import enter
from tests.kit.modules import ModuleHost

SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with a venv, beside the Python of the module."""
    for folder in ("python", "home/venv"):
        (tmp_path / folder / "bin").mkdir(parents=True)
        for name in ("python", "python3"):
            (tmp_path / folder / "bin" / name).symlink_to("/usr/bin/python3")
    return tmp_path / "home"


@pytest.mark.parametrize("shell", SHELLS)
def test_load(home: Path, module_host: ModuleHost, shell: str) -> None:
    """The Python of a module is used with the environment `modules`, and an environment is entered above it."""
    reply = enter(home, "modules", modules=("work-python/1.0",), shell=shell, variables=module_host.variables)
    assert reply["python"] == f"{home.parent}/python/bin/python3"
    assert "work-python/1.0" in reply["LOADEDMODULES"].split(":")
    reply = enter(home, "~/venv", modules=("work-python/1.0",), shell=shell, variables=module_host.variables)
    assert reply["PATH"].split(":")[:2] == [f"{home}/venv/bin", f"{home.parent}/python/bin"]
    assert reply["python"] == f"{home}/venv/bin/python"


def test_default_version(home: Path, module_host: ModuleHost) -> None:
    """A name without a version loads the default one, and a module may be loaded already."""
    modules = ("work-python", "work-python")
    reply = enter(home, "~/venv", modules=modules, variables=module_host.variables)
    assert "work-python/2.0" in reply["LOADEDMODULES"].split(":")


def test_missing_module(home: Path, module_host: ModuleHost) -> None:
    """A module that does not exist is refused by its name, with the names of all that do, and what the tool printed."""
    modules = ("work-python/1.0", "work-python/3.0")
    reply = enter(home, "~/venv", modules=modules, variables=module_host.variables)
    assert (reply["problem"], reply["reason"]) == ("module-failed", "work-python/3.0")
    assert {"broken/1", "work-python/1.0", "work-python/2.0"} <= set(reply["alternatives"])
    assert not [name for name in reply["alternatives"] if " " in name or name.endswith(("/", ":", ")"))]
    assert "work-python/3.0" in "\n".join(reply["log"])


def test_module_that_does_not_load(home: Path, module_host: ModuleHost) -> None:
    """A module that exists but does not load is refused with the tool's reason."""
    reply = enter(home, "~/venv", modules=("broken/1",), variables=module_host.variables)
    assert (reply["problem"], reply["reason"]) == ("module-failed", "broken/1")
    assert "broken/1" in reply["alternatives"]
    assert "something-else" in "\n".join(reply["log"])


def test_old_module_command(home: Path) -> None:
    """A `module` command that succeeds without loading anything, as releases before 4 do, is no success."""
    (home / "init").mkdir()
    (home / "init/sh").write_text('module() { echo "ERROR: $*" >&2; [ "$1" = load ]; }\n')
    variables = {"MODULESHOME": str(home)}
    reply = enter(home, "~/venv", modules=("python/3",), variables=variables)
    assert (reply["problem"], reply["log"]) == ("module-failed", ["ERROR: load python/3"])


def test_no_module_command(home: Path) -> None:
    """A host without a `module` command is reported as such."""
    reply = enter(home, "~/venv", modules=("python/3",), profile_folder=home / "no such folder")
    assert reply["problem"] == "modules-missing"
