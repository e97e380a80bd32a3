"""enter_environment.sh finds and activates the right environment, and never evaluates a name."""

import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.kit.environments import enter

SHELLS = [shell for shell in ("sh", "dash", "bash") if shutil.which(shell)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a Conda installation, an environment outside of it, and a venv, all with spaces in their paths."""
    home = tmp_path_factory.mktemp("a home")
    for prefix in ("miniconda3", "miniconda3/envs/mlp", "miniconda3/envs/plain", "else where/envs/far"):
        _environment(home / prefix)
        (home / prefix / "conda-meta").mkdir()
    _environment(home / "venv")
    hooks = home / "miniconda3/envs/mlp/etc/conda/activate.d"
    hooks.mkdir(parents=True)
    (hooks / "hook.sh").write_text('echo "noise"; export HOOK="in $CONDA_DEFAULT_ENV"\n')
    (home / ".conda").mkdir()
    (home / ".conda/environments.txt").write_text(f"{home}/else where/envs/far\n{home}/gone/envs/gone\n")
    return home


def _environment(prefix: Path) -> None:
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/python").symlink_to(sys.executable)


@pytest.mark.parametrize("shell", SHELLS)
def test_conda_environment_by_name(home: Path, shell: str) -> None:
    """A Conda environment is activated by its name as `conda activate` does: variables, PATH and hooks, whose output
    is discarded.
    """
    reply = enter(home, "mlp", shell=shell)
    prefix = f"{home}/miniconda3/envs/mlp"
    assert reply["CONDA_PREFIX"] == prefix
    assert reply["CONDA_DEFAULT_ENV"] == "mlp"
    assert reply["HOOK"] == "in mlp"
    assert str(reply["PATH"]).startswith(f"{prefix}/bin:")
    assert reply["python"] == f"{prefix}/bin/python"


@pytest.mark.parametrize(
    ("environment", "prefix"),
    [
        ("plain", "miniconda3/envs/plain"),
        ("base", "miniconda3"),
        ("far", "else where/envs/far"),
        ("~/miniconda3/envs/plain", "miniconda3/envs/plain"),
        ("$HOME/miniconda3/envs/plain", "miniconda3/envs/plain"),
        ("${HOME}/miniconda3/envs/plain", "miniconda3/envs/plain"),
    ],
)
def test_other_conda_environments(home: Path, environment: str, prefix: str) -> None:
    """The base, an environment outside of Conda's folder, and one given by its path are activated too."""
    assert enter(home, environment)["CONDA_PREFIX"] == f"{home}/{prefix}"


def test_venv_by_path(home: Path) -> None:
    """A venv is activated by its path, absolute or below the home."""
    assert enter(home, "~/venv")["VIRTUAL_ENV"] == f"{home}/venv"
    assert enter(home, f"{home}/venv")["VIRTUAL_ENV"] == f"{home}/venv"


@pytest.mark.parametrize("shell", SHELLS)
def test_missing_environment(home: Path, shell: str) -> None:
    """A missing environment is refused with the names of all existing ones, each once."""
    assert enter(home, "missing", shell=shell) == {
        "problem": "environment-missing",
        "reason": "",
        "alternatives": ["base", "far", "mlp", "plain"],
        "log": [],
    }


def test_activate_command(home: Path) -> None:
    """The command of `activate` is run in place of activating a name; a failure is reported."""
    reply = enter(home, "missing", activate='PATH="$HOME/venv/bin:$PATH"; export HOOK=mine; echo noise')
    assert reply["python"] == f"{home}/venv/bin/python"
    assert reply["HOOK"] == "mine"
    assert enter(home, "mlp", activate="false")["problem"] == "activate-failed"


def test_home_is_not_on_sys_path(home: Path) -> None:
    """A json.py in the login's working directory is not imported."""
    (home / "json.py").write_text("raise SystemExit('shadowed')")
    try:
        assert enter(home, "mlp")["CONDA_DEFAULT_ENV"] == "mlp"
    finally:
        (home / "json.py").unlink()


HOSTILE = st.lists(
    st.sampled_from([*"$(){}[]`'\"\\;&|<>*?!#~=%^ \tabc.-", "é", "日", "touch x", "$(touch x)", "`touch x`"]),
    min_size=1,
    max_size=20,
).map("".join)


@hypothesis_settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(environment=HOSTILE, shell=st.sampled_from(SHELLS))
def test_hostile_names(home: Path, environment: str, shell: str) -> None:
    """Whatever a name contains, it is only looked up and not found: no file appears."""
    preexec = sorted(home.rglob("*"))
    assert enter(home, environment, shell=shell)["problem"] == "environment-missing"
    assert sorted(home.rglob("*")) == preexec
