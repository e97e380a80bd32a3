"""Which session a command is for, where several match the settings."""

from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context

from notebooks_over_ssh.config import settings
from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import AnySession
from notebooks_over_ssh.tasks.run import Run
from tests.kit.prompter import ScriptedPrompter
from tests.kit.sessions import make_session

TWO = [make_session("ashbury"), make_session("bonnington", requested_host="bonnington")]


@pytest.fixture(autouse=True)
def _two_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for session in TWO:
        sessions.save(session)


def choose(prompter: ScriptedPrompter, host: str | None = None) -> AnySession | None:
    """The session that a command is for."""
    any_prompter: Any = prompter
    run = Run(settings.load(Context(), host=host), any_prompter, any_prompter).choose_session()
    return sessions.find(run.settings)


@pytest.mark.parametrize("number", [1, 2])
def test_chosen(number: int) -> None:
    """The session of the number that was typed is taken."""
    prompter = ScriptedPrompter(str(number))
    assert choose(prompter) == TWO[number - 1]
    assert prompter.prompts == ["which session? [1-2]"]


@pytest.mark.parametrize("answer", ["", "0", "3", "-1", "ashbury", "01", " 1", "²", None])
def test_not_chosen(answer: str | None) -> None:
    """Any other answer, and none, is an error that lists the sessions."""
    with pytest.raises(ConfigError, match="2 sessions match") as raised:
        choose(ScriptedPrompter(answer))
    assert raised.value.detail == tuple(map(str, TWO))


def test_nobody_to_ask() -> None:
    """Without a terminal there is no prompt, and no session is chosen."""
    prompter = ScriptedPrompter("1")
    prompter.is_interactive = False
    with pytest.raises(ConfigError, match="2 sessions match"):
        choose(prompter)
    assert prompter.prompts == []


@pytest.mark.parametrize(
    ("host", "expected"), [("bonnington", TWO[1]), ("ashbury", TWO[0]), ("calder", None)]
)
def test_named(host: str, expected: AnySession | None) -> None:
    """A host that the user names is taken without a prompt."""
    prompter = ScriptedPrompter("1")
    assert choose(prompter, host) == expected
    assert prompter.prompts == []
