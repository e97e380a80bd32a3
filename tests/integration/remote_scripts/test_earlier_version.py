"""A server of an earlier version is found, used and stopped, by the old names of its files."""

import json
import os
from pathlib import Path

import pytest

from tests.kit.local_scripts import configure, get_status, run_locally
from tests.kit.ports import free_port

pytestmark = pytest.mark.usefixtures("host_environment")


def test_old_names(tmp_path: Path) -> None:
    """With `access` for `token` and `protected_with` for `credentials_digest` the running server is found; stop
    removes both.
    """
    application = {"application": "notebook", "directory": "~"}
    start = {"nice": 0, "remote_port": free_port(), "start_timeout_s": 60, "arguments": [], "prefix": []}
    assert configure(tmp_path)["problem"] == ""
    started = run_locally(tmp_path, "start_server", application | start)
    try:
        assert started["problem"] == "", started
        state = tmp_path / ".local/state/notebooks-over-ssh" / os.uname().nodename
        record = json.loads((state / "server.json").read_text())
        record["protected_with"] = record.pop("credentials_digest")
        (state / "server.json").write_text(json.dumps(record))
        (state / "token").rename(state / "access")

        assert run_locally(tmp_path, "server_status", {})["pid"] == started["pid"]
        assert get_status(tmp_path)["stale_server_pid"] == 0
        second_start = run_locally(tmp_path, "start_server", application | start)
        assert (
            second_start["pid"],
            second_start["already_running"],
            second_start["has_stale_credentials"],
        ) == (
            started["pid"],
            True,
            False,
        )
        assert not (state / "token").exists()
    finally:
        stopped = run_locally(tmp_path, "stop_server", {"force": False, "stop_timeout_s": 20})
    assert (stopped["problem"], stopped["pid"]) == ("", started["pid"])
    assert {path.name for path in state.iterdir()} & {"access", "token", "server.json"} == set()
