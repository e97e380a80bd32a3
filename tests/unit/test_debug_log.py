"""The lines of the debug log, whatever a peer sends."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from notebooks_over_ssh import debug_log


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The debug log of this test, which is closed at its end."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("NOTEBOOKS_DEBUG", "1")
    ours, paramiko = logging.getLogger("notebooks_over_ssh"), logging.getLogger("paramiko")
    before = ours.handlers[:], ours.level, ours.propagate, paramiko.propagate
    ours.handlers = []
    path = debug_log.start()
    assert path is not None
    yield path
    for handler in ours.handlers:
        handler.close()
    ours.handlers, level, ours.propagate, paramiko.propagate = before
    ours.setLevel(level)


def test_hostile_text(log: Path) -> None:
    """A peer's text stays in its line, without control characters, and is cut."""
    logging.getLogger("notebooks_over_ssh.ssh").debug(
        "%s: hello", "host\n2026-01-01 forged\x1b[2J" + "x" * 9000
    )
    (line,) = log.read_text().splitlines()
    assert "\x1b" not in line
    assert len(line) <= debug_log.LINE_COLUMNS


def test_size(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files of the maximum size are kept, and no more."""
    monkeypatch.setattr(logging.getLogger("notebooks_over_ssh").handlers[0], "maxBytes", 1000)
    for number in range(100):
        logging.getLogger("notebooks_over_ssh").debug("event %d", number)
    assert sorted(path.name for path in log.parent.iterdir()) == ["debug.log", "debug.log.1"]
    assert sum(path.stat().st_size for path in log.parent.iterdir()) <= 2000
    assert log.read_text().endswith("event 99\n")
