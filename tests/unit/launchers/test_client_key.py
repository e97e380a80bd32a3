"""The key of this machine for jobs."""

from pathlib import Path

import pytest

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.launchers.client_key import client_key


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_key() -> None:
    """The key is made once, is readable by its owner only, and its public part is one line of authorized_keys."""
    key = client_key()
    assert client_key() == key
    assert key.file.stat().st_mode & 0o077 == 0
    assert key.file.parent.stat().st_mode & 0o077 == 0
    kind, base64 = key.public.split(" ")
    assert kind == "ssh-ed25519"
    assert base64.isascii()
    assert key.file.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")


def test_damaged_key() -> None:
    """A file that is no key is an error with its path, and stays."""
    key = client_key()
    key.file.write_text("no key")
    with pytest.raises(TaskError, match="is not a private key") as problem:
        client_key()
    assert str(key.file) in str(problem.value)
    assert key.file.read_text() == "no key"
