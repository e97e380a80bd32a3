"""The sandbox starts for a task that needs a host, says so, and is never started by a task that only looks."""

import json
from pathlib import Path

import pytest

from tests.conftest import processes_below
from tests.journey.conftest import PASSWORD
from tests.journey.program import User, kill, refused, succeeded

LOOKING = ("logs", "doctor", "status", "stop", "stop --all", "tunnel", "trust", "untrust", "sandbox.status")
STARTS = "starting a gateway and three compute hosts on this machine"
KEEPS_RUNNING = "the sandbox keeps running: `"


@pytest.fixture(scope="module")
def nobody(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> User:
    """A user who has started nothing yet."""
    return User(tmp_path_factory.mktemp("nobody"), tmp_path_factory.mktemp("nothing"))


@pytest.mark.parametrize("task", LOOKING)
def test_looking_starts_nothing(nobody: User, task: str) -> None:
    """With nothing on record, a task that only looks leaves the sandbox as it is; one that wants a host of it says what starts it."""
    done = nobody.fab(*task.split())
    assert not nobody.sandbox.exists()
    assert STARTS not in done.stdout
    if task in ("logs", "doctor"):
        refused(done, 3, "the sandbox is not running", "fab up`")


def test_sandbox_comes_and_goes(newcomer: User) -> None:
    """Its start is said once and first, with what ends it; `stop` says that it keeps running; a session outlives it, and is stopped."""
    started = succeeded(newcomer.fab("secure", "--password-file", "-", stdin=PASSWORD)).stdout
    first, *more = started.splitlines()
    assert STARTS in first and "fab sandbox.stop` ends" in first
    assert STARTS not in "".join(more)

    assert STARTS not in succeeded(newcomer.fab("serve")).stdout
    assert KEEPS_RUNNING in succeeded(newcomer.fab("stop")).stdout
    assert "fab sandbox.stop` ends it" in succeeded(newcomer.fab("status")).stdout
    assert KEEPS_RUNNING in succeeded(newcomer.fab("stop")).stdout

    succeeded(newcomer.fab("serve"))
    kill(json.loads((newcomer.sandbox / "network.json").read_text())["network"]["pid"])
    assert "the sandbox is not running: `" in succeeded(newcomer.fab("status")).stdout
    for task in (("logs",), ("doctor",)):
        refused(newcomer.fab(*task), 3, "the sandbox is not running", "fab up`")
    for process in processes_below(newcomer.home):
        kill(process.pid)
    stopped = succeeded(newcomer.fab("stop")).stdout
    assert "the sandbox is not running, so the session on" in stopped
    assert KEEPS_RUNNING not in stopped
    assert newcomer.status() == []
