"""A site's file is shown and confirmed before it first counts, and again when it sets something else."""

import json
from pathlib import Path

import msgspec
import pytest

from notebooks_over_ssh.config.settings import Site
from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.tasks.site_acceptance import require_accepted
from notebooks_over_ssh.terminal import TerminalPrompter
from tests.kit.prompter import ScriptedPrompter

SITE = Site(
    "/etc/eng.yaml",
    {
        "gateway": "ssh.eng.example",
        "notebook.host": "pool.eng",
        "notebook.modules": ["cuda/12", "gcc"],
        "notebook.nice": 15,
        "ssh.host_keys": {"ssh.eng.example": ["SHA256:a", "SHA256:b"]},
    },
)
NO_TERMINAL = TerminalPrompter(False)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder of the records."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "notebooks-over-ssh" / "sites"


@pytest.fixture
def scripted() -> ScriptedPrompter:
    """Has the answers to come, and the prompts so far."""
    return ScriptedPrompter()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, scripted: ScriptedPrompter) -> TerminalPrompter:
    """A terminal whose user gives the scripted answers."""
    prompter = TerminalPrompter(True)
    monkeypatch.setattr(prompter, "ask", scripted.ask)
    return prompter


def changed(**settings: object) -> Site:
    return msgspec.structs.replace(SITE, settings=SITE.settings | settings)


def test_accepted_once(terminal: TerminalPrompter, scripted: ScriptedPrompter, state: Path) -> None:
    """Every setting is shown in a line of its own before the question; after a yes nothing is asked again."""
    scripted.answers = ["y"]
    require_accepted(SITE, terminal)
    (prompt,) = scripted.prompts
    assert prompt == (
        "the site's file /etc/eng.yaml is new. It sets\n"
        "  gateway                  ssh.eng.example\n"
        "  notebook.host            pool.eng\n"
        "  notebook.modules         cuda/12, gcc\n"
        "  notebook.nice            15\n"
        "  ssh.host_keys.ssh.eng.example SHA256:a, SHA256:b\n"
        "use it? [y/N]"
    )
    require_accepted(SITE, terminal)
    require_accepted(SITE, NO_TERMINAL)
    assert len(scripted.prompts) == 1
    assert all(path.stat().st_mode & 0o077 == 0 for path in state.iterdir())


@pytest.mark.parametrize("answer", ["n", "", None])
def test_not_accepted(
    terminal: TerminalPrompter, scripted: ScriptedPrompter, state: Path, answer: str | None
) -> None:
    """Any answer but yes refuses the site, and records nothing."""
    scripted.answers = [answer]
    with pytest.raises(ConfigError, match="was not accepted"):
        require_accepted(SITE, terminal)
    assert not state.exists()


def test_without_terminal() -> None:
    """Without a terminal a new file is refused, with what it sets."""
    with pytest.raises(ConfigError, match="is new, and there is no terminal") as caught:
        require_accepted(SITE, NO_TERMINAL)
    assert any("ssh.eng.example" in line for line in caught.value.detail)
    assert caught.value.exit_code == 2


def test_changed(terminal: TerminalPrompter, scripted: ScriptedPrompter) -> None:
    """A file with other settings is shown again, with only the differences and their old values."""
    scripted.answers = ["y", "y"]
    require_accepted(SITE, terminal)
    other = changed(gateway="evil.example", **{"notebook.nice": 15, "notebook.application": "lab"})
    del other.settings["notebook.host"]
    with pytest.raises(ConfigError, match="different from the one that you accepted"):
        require_accepted(other, NO_TERMINAL)
    require_accepted(other, terminal)
    assert scripted.prompts[1].splitlines()[1:-1] == [
        "  gateway                  evil.example (was ssh.eng.example)",
        "  notebook.application     lab (was not set)",
        "  notebook.host            not set any more (was pool.eng)",
    ]
    with pytest.raises(ConfigError, match="different"):
        require_accepted(SITE, NO_TERMINAL)


def test_changed_pin(terminal: TerminalPrompter, scripted: ScriptedPrompter) -> None:
    """A changed host key is a change."""
    scripted.answers = ["y"]
    require_accepted(SITE, terminal)
    with pytest.raises(ConfigError, match="different") as caught:
        require_accepted(changed(**{"ssh.host_keys": {"ssh.eng.example": ["SHA256:c"]}}), NO_TERMINAL)
    (line,) = caught.value.detail
    assert "SHA256:c (was SHA256:a, SHA256:b)" in line


def test_each_path_by_itself(terminal: TerminalPrompter, scripted: ScriptedPrompter) -> None:
    """The same settings under another path are another site."""
    scripted.answers = ["y"]
    require_accepted(SITE, terminal)
    with pytest.raises(ConfigError, match="is new"):
        require_accepted(msgspec.structs.replace(SITE, path="/etc/other.yaml"), NO_TERMINAL)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"path": 1}', b"\xff", b"[" * 5000])
def test_damaged_record(
    terminal: TerminalPrompter, scripted: ScriptedPrompter, state: Path, content: bytes
) -> None:
    """A damaged record accepts nothing."""
    scripted.answers = ["y"]
    require_accepted(SITE, terminal)
    (record,) = state.iterdir()
    assert json.loads(record.read_bytes())["path"] == SITE.path
    record.write_bytes(content)
    with pytest.raises(ConfigError, match="is new"):
        require_accepted(SITE, NO_TERMINAL)
