"""Unknown names on the command line, and shell completion of hosts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.program import program
from notebooks_over_ssh.tasks.command_line import SAFE_NAME
from tests.kit.sessions import make_session

Complete = Callable[[str], list[str]]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ("serv", "there is no task serv", "did you mean serve?"),
        ("sandbox.strat", "there is no task sandbox.strat", "did you mean sandbox.start?"),
        ("xyzzy", "there is no task xyzzy", "`notebooks --list` lists the tasks"),
        ("--help stopp", "there is no task stopp", "did you mean stop?"),
        ("stop --forc", "stop has no flag --forc", "did you mean --force?"),
        ("stop --forc=1", "stop has no flag --forc", "did you mean --force?"),
        ("stop --dri", "stop has no flag --dri", "did you mean --dry?"),
        ("--dri stop", "there is no flag --dri", "did you mean --dry?"),
        ("status --xyzzy", "status has no flag --xyzzy", "`notebooks --help status` shows the flags"),
        ("status don't", "there is no task don't", "`notebooks --list` lists the tasks"),
    ],
)
def test_unknown_name(arguments: str, message: str, hint: str) -> None:
    """An unknown task or flag is an error with the nearest name, or with the command that lists them."""
    with pytest.raises(ConfigError) as caught:
        program.run(["notebooks", *arguments.split()], exit=False)
    assert (str(caught.value), caught.value.hint) == (message, hint)


def test_other_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    """Invoke's other messages stay."""
    program.run(["notebooks", "serve", "--host"], exit=False)
    assert "needed value and was not given one" in capsys.readouterr().err


@pytest.fixture
def complete(clean_home: Path, capsys: pytest.CaptureFixture[str]) -> Complete:
    """Completes a command line, without the program's name. There is one session, and an ssh_config with hosts."""
    sessions.save(make_session("ashbury"))
    (clean_home / ".ssh").mkdir()
    (clean_home / ".ssh/config").write_text(
        'Host gateway *.example "$(touch x)" -oProxyCommand=x student.compute\n'
    )

    def run(line: str) -> list[str]:
        program.run(["notebooks", "--complete", "--", "notebooks", *line.split()], exit=False)
        return capsys.readouterr().out.split()

    return run


HOSTS = ["ashbury", "student.compute", "gateway"]


@pytest.mark.parametrize("line", ["-H", "--hosts", "serve --host", "serve --host ="])
def test_hosts(line: str, complete: Complete) -> None:
    """A host flag completes to the hosts on record, then those of ~/.ssh/config, without names that a shell expands."""
    assert complete(line) == HOSTS


def test_part_of_a_host(complete: Complete) -> None:
    """A part of a list is completed, with the hosts before it; the tasks follow, as the host may be complete."""
    candidates = complete("-H ashbury,g")
    assert candidates[:3] == [f"ashbury,{host}" for host in HOSTS]
    assert {"serve", "sandbox.start"} <= set(candidates[3:])
    assert complete("-H $(id),g")[0] not in HOSTS


def test_no_hosts(complete: Complete) -> None:
    """Elsewhere no host is offered, but the tasks or the flags."""
    for line in ("", "st", "serve", "stop --", "-H a --"):
        assert not set(complete(line)) & set(HOSTS)
    assert "--force" in complete("stop --")


@pytest.mark.parametrize("name", ["$(id)", "`id`", "a b", "-o", "a;b", "a\nb", "~", "{a,b}", ""])
def test_unsafe_names(name: str) -> None:
    """A name with a character that a shell treats specially is not offered."""
    assert not SAFE_NAME.fullmatch(name)
