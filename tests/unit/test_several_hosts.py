"""`-H a,b`: which tasks run once for each host, which once, and which not at all."""

from collections.abc import Callable
from pathlib import Path

import pytest

from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.program import program

Notebooks = Callable[..., str]


@pytest.fixture
def notebooks(
    clean_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Notebooks:
    """Runs the program in this process; returns its output. The home folder is empty."""

    def run(*arguments: str) -> str:
        argv = ["notebooks", *arguments]
        monkeypatch.setattr("sys.argv", argv)
        program.run(argv, exit=False)
        output = capsys.readouterr()
        return output.out + output.err

    return run


@pytest.mark.parametrize("task", ["serve", "secure", "logs", "doctor", "up --detach", "stop"])
def test_once_for_each_host(task: str, notebooks: Notebooks) -> None:
    """A task about a host runs for one after the other."""
    output = notebooks("-H", "ashbury,barnes", "--dry", *task.split())
    assert 0 < output.index("ashbury") < output.index("barnes")
    assert output.count("dry run:") == 2


@pytest.mark.parametrize("task", ["status", "stop --all", "sandbox.status", "sandbox.start", "sandbox.stop"])
def test_once(task: str, notebooks: Notebooks) -> None:
    """A task about all hosts runs once."""
    lines = notebooks("--dry", *task.split()).count("\n")
    assert lines
    for hosts in ("ashbury,barnes", "barnes,jo@ashbury:22", "barnes"):
        assert notebooks("-H", hosts, "--dry", *task.split()).count("\n") == lines


@pytest.mark.parametrize("task", ["up", "tunnel", "logs --follow"])
def test_refused(task: str, notebooks: Notebooks) -> None:
    """A task that runs until Ctrl-C is refused before it starts, because it would never get to the second host."""
    output = notebooks("-H", "ashbury,barnes", *task.split())
    assert output.startswith(f"error: `{task.split()[0]}` runs until Ctrl-C")
    assert "hint: name one host" in output


@pytest.mark.parametrize("arguments", [["status", "--", "ls"], ["-H", "ashbury", "up", "--", "ls"]])
def test_remainder(arguments: list[str], notebooks: Notebooks) -> None:
    """A command after `--` is refused, also after a task: Fabric would run it without a check of the host key."""
    with pytest.raises(ConfigError, match="after --"):
        notebooks(*arguments)
