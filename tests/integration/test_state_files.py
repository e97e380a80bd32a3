"""A damaged or unusable state folder: `fab` names its path and prints a hint, or skips the damaged record."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.cli import User, assert_error, assert_success

TASKS = (
    "secure", "serve", "tunnel --detach", "up --detach", "stop", "stop --all", "status", "status --json",
    "status --editors", "logs", "login", "logout", "doctor", "trust", "untrust", "sandbox.stop",
)  # fmt: skip


def a_huge_file(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def a_link(path: Path) -> None:
    path.with_name("elsewhere").write_text("{}")
    path.symlink_to("elsewhere")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "garbage": lambda path: path.write_bytes(b"\0\xff garbage"),
    "empty": lambda path: path.write_bytes(b""),
    "not UTF-8": lambda path: path.write_bytes(b'{"host": "\xff\xfe"}'),
    "deep": lambda path: path.write_bytes(b"[" * 100_000),
    "huge": a_huge_file,
    "a link": a_link,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a FIFO": lambda path: os.mkfifo(path),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_record(idle_user: User, kind: str) -> None:
    """An unreadable record is skipped and kept; `status` names it, and other commands work."""
    idle_user.sessions.mkdir(parents=True)
    record = idle_user.sessions / "ashbury-00000000.session.json"
    DAMAGE[kind](record)
    result = assert_success(idle_user.fab("status", "--json"))
    assert result.stdout.strip() == "[]"
    assert f"warning: {record} is not a valid session record" in result.stderr
    assert "nothing to stop" in assert_success(idle_user.fab("stop")).stdout
    assert os.path.lexists(record)


@pytest.mark.parametrize("task", TASKS)
def test_file_in_the_way(idle_user: User, task: str) -> None:
    """Where the state folder cannot be created, each task says so before it connects, with the path."""
    folder = idle_user.sessions.parent
    folder.parent.mkdir(parents=True)
    folder.touch()
    assert_error(idle_user.fab(*task.split()), 1, str(folder), "Not a directory", "XDG_STATE_HOME")
    assert not idle_user.sandbox.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give a folder away")
def test_folder_of_another_account(idle_user: User) -> None:
    """Records in a folder of another account are not used: the folder is named."""
    idle_user.sessions.mkdir(parents=True)
    os.chown(idle_user.sessions, 65534, 65534)
    for task in ("status", "stop"):
        assert_error(
            idle_user.fab(task), 1, f"{idle_user.sessions} belongs to another account", "XDG_STATE_HOME"
        )


def test_reading_creates_nothing(idle_user: User) -> None:
    """Commands that only read leave the home folder as it was."""
    for task in ("status", "stop", "untrust", "sandbox.status"):
        assert_success(idle_user.fab(task))
    assert list(idle_user.home.iterdir()) == []
