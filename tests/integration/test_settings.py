"""`fab` and `invoke` read the same settings, in a copy of the project with a single task."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fabric.main import make_program  # type: ignore[import-untyped, unused-ignore]

from tests.kit import cli
from tests.kit.cli import BIN_DIR, ROOT, Result

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def home(clean_home: Path) -> Path:
    """The home folder of every test here."""
    return clean_home


TASKS = """
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from {library} import task

@task
def show(c, host=None):
    import sys
    from notebooks_over_ssh.errors import ConfigError
    from notebooks_over_ssh.config.settings import load
    try:
        s = load(c, host=host)
    except ConfigError as problem:
        print(f"{{problem}}; hint: {{problem.hint}}", file=sys.stderr)
        sys.exit(problem.exit_code)
    print(json.dumps([s.gateway, s.user, s.notebook.nice, s.explicit_host, s.timeouts.connect]))
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    project = tmp_path / "copy"
    shutil.copytree(ROOT / "notebooks_over_ssh", project / "notebooks_over_ssh")
    (project / "fabfile").mkdir()
    shutil.copy(ROOT / "invoke.yaml", project / "invoke.yaml")
    (project / "fabfile" / "__init__.py").write_text(TASKS.format(library="fabric"), encoding="utf-8")
    (project / "tasks.py").write_text("from fabfile import show\n", encoding="utf-8")

    def run(program: str, *arguments: str, **variables: str) -> Result:
        return cli.run(
            BIN_DIR / program, *arguments, cwd=project, env={**os.environ, **variables}, check=False
        )

    return run


@pytest.mark.parametrize("program", ["fab", "invoke"])
def test_same_effect(run: Run, program: str, home: Path, tmp_path: Path) -> None:
    """Each layer counts the same under both programs."""
    assert json.loads(run(program, "show").stdout) == ["sandbox", None, 19, None, 10]
    (home / ".invoke.yaml").write_text("user: me\ngateway: gate\nnotebook: {nice: 12}", encoding="utf-8")
    assert json.loads(run(program, "show").stdout) == ["gate", "me", 12, None, 10]
    runtime = tmp_path / "run.yaml"
    runtime.write_text("timeouts: {connect: 5}\n", encoding="utf-8")
    result = run(program, "-f", str(runtime), "show", "--host", "you@ashbury", INVOKE_NOTEBOOK_NICE="13")
    assert json.loads(result.stdout) == ["gate", "me", 13, "you@ashbury", 5], result.stderr
    result = run(program, "show", INVOKE_RUNTIME_CONFIG=str(runtime), INVOKE_GATEWAY="none")
    assert json.loads(result.stdout) == [None, "me", 12, None, 5], result.stderr


@pytest.mark.parametrize("program", ["fab", "invoke"])
def test_refused(run: Run, program: str, home: Path) -> None:
    """An invalid setting ends both programs with the same error."""
    (home / ".invoke.yaml").write_text("notebook: {enviroment: x}", encoding="utf-8")
    result = run(program, "show")
    assert result.returncode == 2
    assert result.stderr.strip() == (
        "unknown setting notebook.enviroment in ~/.invoke.yaml; hint: did you mean notebook.environment?"
    )
    (home / ".invoke.yaml").unlink()
    result = run(program, "-f", "none.yaml", "show")
    assert (result.returncode, "there is no configuration file none.yaml" in result.stderr) == (2, True)


def test_option_of_fab(run: Run) -> None:
    """Under `fab`, -H, -t and -i count like settings."""
    result = run("fab", "-H", "me@ashbury:22", "-t", "3", "show")
    assert json.loads(result.stdout) == ["sandbox", None, 19, "me@ashbury:22", 3], result.stderr
    result = run("fab", "-H", "ashbury", "show", "--host", "other")
    assert (result.returncode, "-H ashbury and --host other differ" in result.stderr) == (2, True)


def test_fabric_stores_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fab` stores its options where the settings read them; Fabric has no public name for that place."""
    config: dict[str, Any] = {}
    program = make_program()
    monkeypatch.setattr(program, "execute", lambda: config.update(program.config._overrides))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fabfile.py").write_text(TASKS.format(library="fabric"), encoding="utf-8")
    program.run(["fab", "-i", "/k", "-t", "3", "-T", "4", "show"], exit=False)
    assert config["connect_kwargs"] == {"key_filename": ["/k"], "timeout": 3}
    assert config["timeouts"] == {"command": 4}
