"""The sandbox starts, with a message, for a task that needs a host, and not for a task that only reads."""

import json
from pathlib import Path

import pytest

from tests.kit.cli import User, assert_error, assert_success, kill
from tests.kit.leaks import processes_below
from tests.kit.users import PASSWORD

LOOKING = (
    *("logs", "doctor", "status", "stop", "stop --all", "tunnel", "trust", "untrust", "sandbox.status"),
    *("logout", "logout --all"),
)
STARTS = "starting a gateway and three compute hosts on this machine"
KEEPS_RUNNING = "the sandbox is still running: `"


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> User:
    """A user who has started nothing yet."""
    return User(tmp_path_factory.mktemp("nobody"), tmp_path_factory.mktemp("nothing"))


@pytest.mark.parametrize("task", LOOKING)
def test_reading_tasks_start_nothing(idle: User, task: str) -> None:
    """Without a session, a task that only reads does not start the sandbox; one that needs a host of it has a hint."""
    result = idle.fab(*task.split())
    assert not idle.sandbox.exists()
    assert STARTS not in result.stdout
    if task in ("logs", "doctor"):
        assert_error(result, 3, "the sandbox is not running", "fab up`")


def test_sandbox_messages(fresh_user: User) -> None:
    """The first task reports the start and how to end it; `stop` reports that the sandbox keeps running; a session
    survives the sandbox, and can be stopped.
    """
    started = assert_success(fresh_user.fab("secure", "--password-file", "-", stdin=PASSWORD)).stdout
    first, *more = started.splitlines()
    assert STARTS in first and "fab sandbox.stop` stops" in first
    assert STARTS not in "".join(more)

    assert STARTS not in assert_success(fresh_user.fab("serve")).stdout
    assert KEEPS_RUNNING in assert_success(fresh_user.fab("stop")).stdout
    assert "fab sandbox.stop` stops it" in assert_success(fresh_user.fab("status")).stdout
    assert KEEPS_RUNNING in assert_success(fresh_user.fab("stop")).stdout

    assert_success(fresh_user.fab("serve"))
    kill(json.loads((fresh_user.sandbox / "network.json").read_text())["network"]["pid"])
    assert "the sandbox is not running: `" in assert_success(fresh_user.fab("status")).stdout
    for task in (("logs",), ("doctor",)):
        assert_error(fresh_user.fab(*task), 3, "the sandbox is not running", "fab up`")
    for process in processes_below(fresh_user.home):
        kill(process.pid)
    stopped = assert_success(fresh_user.fab("stop")).stdout
    assert "because the sandbox is not running" in stopped
    assert KEEPS_RUNNING not in stopped
    assert fresh_user.status() == []
