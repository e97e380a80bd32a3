"""The program `notebooks`: Invoke's command line with the tasks, and the options of `fab` that name a host."""

import json
import sys
from typing import Any

import pytest
from fabric.main import make_program  # type: ignore[import-untyped, unused-ignore]

import notebooks_over_ssh
from notebooks_over_ssh.config import cli
from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.program import Notebooks, program


@pytest.fixture
def notebooks(monkeypatch: pytest.MonkeyPatch) -> Notebooks:
    """The program, which stops before it runs a task."""
    monkeypatch.setattr(program, "execute", lambda: None)
    return program


def test_own_name(capsys: pytest.CaptureFixture[str]) -> None:
    """The program has a name, a version and a list of its own."""
    program.run(["notebooks", "--version"], exit=False)
    assert capsys.readouterr().out == f"notebooks {notebooks_over_ssh.__version__}\n"
    program.run(["/somewhere/notebooks", "--help"], exit=False)
    assert capsys.readouterr().out.startswith("Usage: notebooks [")
    program.run(["notebooks", "--list", "--list-format", "json"], exit=False)
    listing = json.loads(capsys.readouterr().out)
    assert listing["default"] == "up"
    assert {"secure", "serve", "tunnel", "stop", "up", "doctor"} < {task["name"] for task in listing["tasks"]}
    # The maintainers' tasks are their own (dev/tasks.py).
    assert not {"pin", "screenshots"} & {task["name"] for task in listing["tasks"]}


def test_options_of_fab(notebooks: Notebooks, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """-i, -t, -S and -f reach the settings as those of `fab` do."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fabfile.py").write_text("from fabric import task\n\n@task\ndef status(c): pass\n")
    (tmp_path / "ssh_config").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    fab = make_program()
    monkeypatch.setattr(fab, "execute", lambda: None)
    arguments = ["-i", "/k", "-i", "/l", "-t", "3", "-S", "ssh_config", "status"]
    for one in (fab, notebooks):
        one.run([one.name, *arguments], exit=False)
    expected = {
        "connect_kwargs": {"key_filename": ["/k", "/l"], "timeout": 3},
        "ssh_config_path": "ssh_config",
    }
    assert cli.overrides(fab.config) == cli.overrides(notebooks.config) == expected
    notebooks.run(["notebooks", "-f", "my.yaml", "status"], exit=False)
    assert notebooks.config._runtime_path == "my.yaml"


def test_no_commands_on_hosts(notebooks: Notebooks) -> None:
    """A command after --, which Fabric would run without a check of the host's key, is refused."""
    with pytest.raises(ConfigError, match="after --"):
        notebooks.run(["notebooks", "-H", "ashbury", "--", "ls"], exit=False)


def test_windows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On Windows a task exits with one sentence about WSL."""
    monkeypatch.setattr(sys, "platform", "win32")
    program.run(["notebooks", "sandbox.status"], exit=False)
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: Windows itself is not supported\nhint: run it in WSL")
