"""bootstrap.sh finds and enters the environment that is meant, and runs nothing that it is told as a name."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from notebooks_over_ssh.ssh.remote import BOOTSTRAP, script

TELL = """
import json, os, sys
def main(parameters):
    names = ("CONDA_PREFIX", "CONDA_DEFAULT_ENV", "VIRTUAL_ENV", "HOOK", "PATH")
    told = {name: os.environ.get(name) for name in names}
    sys.stdout.write("\\n%s %s\\n" % (sys.modules["common"].MARKER, json.dumps(dict(told, python=sys.executable))))
"""
SHELLS = [shell for shell in ("sh", "dash", "bash") if shutil.which(shell)]
RunBootstrap = Callable[..., dict[str, object]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a Conda installation, an environment made elsewhere, and a venv, all with spaces in their paths."""
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


def enter(home: Path, environment: str = "", activate: str = "", shell: str = "sh") -> dict[str, object]:
    """Run bootstrap.sh as remote.py does, in the home; what it answered, or the word with which it refused."""
    request = {"marker": "MARK", "parameters": {}, "modules": [("common", "MARKER = ''"), ("tell", TELL)]}
    result = subprocess.run(
        [shell, "-c", BOOTSTRAP.replace("/bin/sh", shell)],
        input=script("bootstrap.sh") + f"MARK\n{environment}\n{activate}\n{json.dumps(request)}".encode(),
        capture_output=True,
        cwd=home,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        timeout=60,
        check=False,
    )
    _, separator, rest = result.stdout.decode().rpartition("\nMARK ")
    assert separator, result
    first, _, more = rest.partition("\n")
    return (
        json.loads(first)
        if first.startswith("{")
        else {"problem": first, "alternatives": sorted({*more.split("\n")} - {""})}
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_conda_environment_by_name(home: Path, shell: str) -> None:
    """A Conda environment is entered by its name as `conda activate` does: variables, PATH and hooks, whose noise is lost."""
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
    """The base, one made outside of Conda's own folder, and one by its path are entered too."""
    assert enter(home, environment)["CONDA_PREFIX"] == f"{home}/{prefix}"


def test_venv_by_path(home: Path) -> None:
    """A venv is entered by its path, absolute or below the home."""
    assert enter(home, "~/venv")["VIRTUAL_ENV"] == f"{home}/venv"
    assert enter(home, f"{home}/venv")["VIRTUAL_ENV"] == f"{home}/venv"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_missing_environment_names_those_that_exist(home: Path, shell: str) -> None:
    """What is missing is refused with the names of all environments that are there, each once."""
    assert enter(home, "missing", shell=shell) == {
        "problem": "environment-missing",
        "alternatives": ["base", "far", "mlp", "plain"],
    }


def test_a_command_of_ones_own(home: Path) -> None:
    """The command of `activate` prepares the environment in place of the name; one that fails is told."""
    reply = enter(home, "missing", 'PATH="$HOME/venv/bin:$PATH"; export HOOK=mine; echo noise')
    assert reply["python"] == f"{home}/venv/bin/python"
    assert reply["HOOK"] == "mine"
    assert enter(home, "mlp", "false")["problem"] == "activate-failed"


def test_a_file_in_the_home_does_not_shadow_the_standard_library(home: Path) -> None:
    """A json.py in the folder where a login begins is not imported."""
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
def test_hostile_names_run_nothing(home: Path, environment: str, shell: str) -> None:
    """Whatever a name contains, it is looked up and nothing else: no file appears, and it is not found."""
    preexec = sorted(home.rglob("*"))
    assert enter(home, environment, shell=shell)["problem"] == "environment-missing"
    assert sorted(home.rglob("*")) == preexec
