"""`init` asks for the settings of a site and writes them to ~/.invoke.yaml."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kit.cli import Terminal, User, assert_error

QUESTIONS = (
    "gateway of your site",
    "user name there",
    "host or pool",
    "environment with",
    "folder on the host",
)
OWN = "# mine\nconnect_kwargs:  # keys\n  look_for_keys: false\n\nnotebook:\n  # nice\n  nice: 12\n"


def answer(terminal: Terminal, *answers: str) -> None:
    """Answer the questions in turn."""
    for question, text in zip(QUESTIONS, answers, strict=False):
        terminal.expect(rf"{question}[^\n]*\]: ")
        terminal.type(text)


@pytest.fixture
def file(idle_user: User) -> Path:
    """The user's own file, not yet written."""
    return idle_user.home / ".invoke.yaml"


def test_new_file(idle_user: User, file: Path) -> None:
    """The answers are shown and, once confirmed, written to a private file; a wrong one is asked for again."""
    with idle_user.at_terminal("fab", "init") as terminal:
        terminal.expect(r"gateway of your site \[sandbox\]: ")
        terminal.type("gate;way")
        terminal.expect("gateway must be a host")
        answer(terminal, "gate.example", "s1234567", "pool.example", "", "~/my work")
        terminal.expect(r"notebook.directory: ~/my work")
        terminal.expect(r"write this to ~/.invoke.yaml\? \[y/N\] ")
        terminal.type("y")
        terminal.expect("wrote ~/.invoke.yaml")
        terminal.expect("fab doctor`")
        assert terminal.end() == 0
    assert file.read_text() == (
        "gateway: gate.example\nuser: s1234567\nnotebook: {host: pool.example, directory: ~/my work}\n"
    )
    assert file.stat().st_mode & 0o777 == 0o600
    assert idle_user.files() == [".invoke.yaml"]


@pytest.mark.parametrize("program", ["fab", "invoke", "notebooks"])
def test_existing_file(idle_user: User, file: Path, program: str) -> None:
    """What is in the file stays, comments and mode included; the next run shows its values and changes nothing."""
    file.write_text(OWN)
    file.chmod(0o640)
    with idle_user.at_terminal(program, "init") as terminal:
        answer(terminal, "gate.example", "", "pool.example", "", "")
        terminal.expect("write this")
        terminal.type("y")
        assert terminal.end() == 0
    content = file.read_text()
    assert content == OWN.replace("connect_kwargs", "gateway: gate.example\nconnect_kwargs").replace(
        "  nice: 12", "  host: pool.example\n  nice: 12"
    )
    assert file.stat().st_mode & 0o777 == 0o640
    with idle_user.at_terminal(program, "init") as terminal:
        terminal.expect(r"gateway of your site \[gate.example\]: ")
        terminal.type("gate.example")
        terminal.expect("user name there")
        terminal.type("")
        terminal.expect(r"host or pool[^\n]* \[pool.example\]: ")
        terminal.type("")
        terminal.expect("environment with")
        terminal.type("")
        terminal.expect("folder on the host")
        terminal.type("")
        terminal.expect("~/.invoke.yaml is unchanged")
        assert terminal.end() == 0
    assert file.read_text() == content


@pytest.mark.parametrize(("key", "code"), [("interrupt", 130), ("end_input", 1)])
@pytest.mark.parametrize("answered", [0, 3, 5])
def test_interrupted(idle_user: User, file: Path, key: str, code: int, answered: int) -> None:
    """Ctrl-C and Ctrl-D change nothing at any question; Ctrl-D at the last one is a no."""
    file.write_text(OWN)
    with idle_user.at_terminal("fab", "init") as terminal:
        answer(terminal, *("gate.example", "me", "pool.example", "env", "~/a")[:answered])
        terminal.expect(r"write this[^\n]*\[y/N\] " if answered == 5 else rf"{QUESTIONS[answered]}[^\n]*\]: ")
        getattr(terminal, key)()
        assert terminal.end() == (0 if (key, answered) == ("end_input", 5) else code)
    assert file.read_text() == OWN
    assert idle_user.files() == [".invoke.yaml"]


def test_symlink(idle_user: User, file: Path, tmp_path: Path) -> None:
    """A link to a file elsewhere keeps leading there, and that file is changed."""
    target = tmp_path / "dotfiles.yaml"
    target.write_text(OWN)
    file.symlink_to(target)
    with idle_user.at_terminal("fab", "init") as terminal:
        answer(terminal, "gate.example", "", "", "", "")
        terminal.expect("write this")
        terminal.type("y")
        assert terminal.end() == 0
    assert file.is_symlink() and "gateway: gate.example" in target.read_text()


def test_without_a_terminal(idle_user: User) -> None:
    """Without a terminal it exits with 2, says what to write, and writes nothing."""
    result = assert_error(idle_user.fab("init", stdin="gate.example\n"), 2, "there is no terminal")
    assert "write the settings to ~/.invoke.yaml" in result.stderr
    assert idle_user.files() == []


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        (".invoke.yaml", "notebook: [1\n", "~/.invoke.yaml, line 2: invalid YAML"),
        (".invoke.yaml", "notebook: {nice: 1}\n", "notebook.nice in ~/.invoke.yaml must be"),
        (".invoke.json", "[]", "~/.invoke.json must be a mapping"),
        (".invoke.py", "run = {'echo': True}\n", "Invoke would no longer read ~/.invoke.py"),
    ],
)
def test_unusable_file(idle_user: User, name: str, text: str, error: str) -> None:
    """A file that is invalid, or in Python, is refused by name before any question, and left as it is."""
    (idle_user.home / name).write_text(text)
    with idle_user.at_terminal("fab", "init") as terminal:
        terminal.expect(re.escape(error))
        assert terminal.end() == 2
    assert (idle_user.home / name).read_text() == text
    assert idle_user.files() == [name]


def test_json(idle_user: User) -> None:
    """A user whose own file is JSON keeps that file, with the answers in it."""
    file = idle_user.home / ".invoke.json"
    file.write_text('{"run": {"echo": true}, "notebook": {"nice": 12, "host": "a"}}')
    with idle_user.at_terminal("fab", "init") as terminal:
        answer(terminal, "gate.example", "", "pool.example", "", "")
        terminal.expect("write this to ~/.invoke.json")
        terminal.type("y")
        assert terminal.end() == 0
    assert json.loads(file.read_text()) == {
        "run": {"echo": True},
        "notebook": {"nice": 12, "host": "pool.example"},
        "gateway": "gate.example",
    }
    assert idle_user.files() == [".invoke.json"]


@pytest.mark.parametrize(
    ("project", "warning"),
    [
        ("{gateway: other.example, notebook: {host: b}}", "overrides gateway, notebook.host"),
        ("{gateway: gate.example, notebook: {environment: b}}", ""),
        ("{notebook: {site: nowhere}}", "there is no site nowhere"),
    ],
)
def test_overridden(idle_user: User, file: Path, tmp_path: Path, project: str, warning: str) -> None:
    """Where a project's file overrides what was written, a warning names the file and the settings."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "invoke.yaml").write_text(project)
    with replace(idle_user, folder=folder).at_terminal("notebooks", "init") as terminal:
        answer(terminal, "gate.example", "", "pool.example", "", "")
        terminal.expect("write this")
        terminal.type("y")
        terminal.expect("wrote ~/.invoke.yaml")
        assert terminal.end() == 0
    warnings = re.findall(r"warning:\S* (.*)\r", terminal.output)
    assert len(warnings) == (1 if warning else 0) and all(warning in line for line in warnings)
    if "overrides" in warning:
        assert f"{folder}/invoke.yaml overrides" in warnings[0]
    assert file.exists()
