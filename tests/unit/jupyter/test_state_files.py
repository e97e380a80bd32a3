"""A state folder that is damaged, full, in the way or another user's: an error with its path and a hint, or a
warning.
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from notebooks_over_ssh import state_files
from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.certificate import Certificate
from notebooks_over_ssh.trust_stores import installed

NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where state is kept; it does not exist yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "notebooks-over-ssh"


def test_unwritable_files(folder: Path) -> None:
    """A lock, a log, a deletion and a certificate that fail are each an error with the path, never an OSError."""
    sessions_folder = folder / "sessions"
    (sessions_folder / "x").mkdir(parents=True)
    with pytest.raises(TaskError, match=f"cannot lock {sessions_folder}/x"):
        state_files.acquire(sessions_folder / "x", 1)
    with pytest.raises(TaskError, match=f"cannot write to {sessions_folder}/x"):
        state_files.open_log(sessions_folder / "x")
    with pytest.raises(TaskError, match=f"cannot remove {sessions_folder}/x"):
        state_files.remove(sessions_folder / "x")
    (folder / "trusted").touch()
    with pytest.raises(TaskError, match=f"{folder}/trusted: Not a directory"):
        installed.load_all()
    (folder / "trusted").unlink()
    (folder / "trusted").symlink_to("/proc/nothing")
    with pytest.raises(TaskError, match=f"{folder}/trusted"):
        installed.save(Certificate("", "00", "00", NOW, NOW, ("localhost",), ""))
    assert sessions.list_records() == []
