"""The host keys that a job has found on its node, as the login node reads them from the job's folder."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

KEY = "AAAAC3NzaC1lZDI1NTE5AAAAI" + "a" * 43
LINE = f"ssh-ed25519 {KEY} root@n1\n"
TIMEOUT_S = 20


@pytest.fixture
def read_node_keys(import_remote: Callable[[str], ModuleType]) -> Any:
    return import_remote("job_access").read_node_keys


def test_all_keys(read_node_keys: Any, tmp_path: Path) -> None:
    """Each public key is read, with or without a comment; everything else in the file is ignored."""
    file = tmp_path / "node_keys"
    lines = [LINE, f"ssh-rsa {KEY}\n", "ssh-ed25519 short\n", f"\x1b[2J {KEY}\n", "nonsense\n", "end\n"]
    file.write_text("".join(lines))
    assert read_node_keys(file, 0) == [("ssh-ed25519", KEY), ("ssh-rsa", KEY)]


def test_endless_file(read_node_keys: Any, tmp_path: Path) -> None:
    """A file without end costs neither memory nor time: the first keys count."""
    file = tmp_path / "node_keys"
    file.write_text(LINE * 10_000)
    assert read_node_keys(file, 0) == [("ssh-ed25519", KEY)] * 16


def test_job_that_begins(read_node_keys: Any, tmp_path: Path) -> None:
    """While the job has not written all keys, they are awaited; after the timeout, what is there counts."""
    file = tmp_path / "node_keys"
    file.write_text("")
    assert read_node_keys(file, 0.2) == []
    reader = threading.Timer(0.3, file.write_text, [LINE + "end\n"])
    reader.start()
    assert read_node_keys(file, TIMEOUT_S) == [("ssh-ed25519", KEY)]
    reader.join()


def test_job_of_an_earlier_version(read_node_keys: Any, tmp_path: Path) -> None:
    """Without the file there are no keys, and nothing is awaited."""
    assert read_node_keys(tmp_path / "node_keys", TIMEOUT_S) == []
