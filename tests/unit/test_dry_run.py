"""`--dry`: no task changes anything."""

import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest

from notebooks_over_ssh import sandbox
from notebooks_over_ssh.collection import namespace
from notebooks_over_ssh.program import program

READ_ONLY = {"status", "sandbox.status"}
"""The tasks that `--dry` runs, because they change nothing."""


@pytest.fixture
def inert(clean_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, in a process that can neither connect nor start the sandbox."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a dry run tried to act")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(sandbox, "ensure_running", refuse)
    monkeypatch.setattr(sandbox, "stop", refuse)
    monkeypatch.setenv("NOTEBOOKS_DEBUG", "1")
    return clean_home


@pytest.mark.parametrize("task", sorted(namespace.task_names))
def test_changes_nothing(task: str, inert: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a dry run a task connects to nothing, starts nothing and writes no file, not even a debug log."""
    program.run(["notebooks", "--dry", task], exit=False)
    output = capsys.readouterr()
    if task in ("trust", "tunnel"):
        assert "there is no session" in output.err
    else:
        assert ("dry run: nothing was changed" in output.out) == (task not in READ_ONLY)
    assert list(inert.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["secure", "--renew"], "would set a new password and certificate on student.compute"),
        (["secure", "--password-file", "-"], "would read a new password from standard input"),
        (["secure", "--restart"], "would restart a server that uses an older password"),
        (["up", "--local-port", "9000"], "would forward port 9000 of this machine"),
        (["up", "--forward", "6006"], "would forward the first free port from 6006 to student.compute:6006"),
        (["up", "--trust"], "would add the server's certificate to your browsers' trust stores"),
        (["up"], "ctrl-c would close the tunnel and ask whether to stop the server"),
        (["logs", "--lines", "7"], "would print the last 7 lines"),
        (["login"], "would log in to student.compute, and keep the login in the background"),
        (["logout", "--all"], "no login is held"),
        (["-H", "jo@ashbury", "stop"], "would stop your server on ashbury, if one is running"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_plan_names_the_flags(
    flags: list[str],
    expected: str,
    inert: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plan says what the flags ask for."""
    argv = ["notebooks", "--dry", *flags]
    monkeypatch.setattr("sys.argv", argv)
    program.run(argv, exit=False)
    assert expected in capsys.readouterr().out
