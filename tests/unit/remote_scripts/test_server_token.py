"""Which server's token the host reports: that of the session's own, while it runs."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOKEN = "5e" * 24


@pytest.fixture
def report(
    import_remote: Callable[[str], ModuleType], clean_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, Any], str], dict[str, Any]]:
    """Returns the program's reply where the server's record has these fields, for a process with this start."""
    program, state = import_remote("server_token"), import_remote("server_state")
    replies: list[dict[str, Any]] = []
    monkeypatch.setattr(program, "reply", lambda **fields: replies.append(fields))
    folder = Path(state.state_folder())
    (folder / "token").write_text(TOKEN)

    def run(record: dict[str, Any], process_start: str) -> dict[str, Any]:
        (folder / "server.json").write_text(json.dumps(record))
        program.main({"process_start": process_start})
        return replies.pop()

    return run


def test_running_server(
    report: Callable[[dict[str, Any], str], dict[str, Any]], import_remote: Callable[[str], ModuleType]
) -> None:
    """The token of the running server, if it is the one that was asked for."""
    start = import_remote("common").process_start(os.getpid())
    record = {"pid": os.getpid(), "process_start": start}
    assert report(record, start) == {"problem": "", "token": TOKEN}
    assert report(record, f"{start}1") == {"problem": "server-ended"}


def test_ended_server(report: Callable[[dict[str, Any], str], dict[str, Any]]) -> None:
    """No token of a server that has ended, or without a record."""
    assert report({"pid": os.getpid(), "process_start": "another"}, "another") == {"problem": "server-ended"}
    assert report({}, "another") == {"problem": "server-ended"}
