"""Another process takes the server's port after Jupyter has found it free and before it listens on it."""

from pathlib import Path

import pytest

from tests.kit.local_scripts import configure, run_locally
from tests.kit.ports import free_port

MAX_LAUNCHES = 3  # as in start_server.py, which only the host imports
# Jupyter runs this file. The socket stands for the other process, as often as TIMES says.
CONFIG = """
import os, socket
from jupyter_server.serverapp import ServerApp

listen = ServerApp._bind_http_server_tcp

def take_port_first(self):
    with open(os.path.expanduser("~/launches"), "a") as file:
        file.write("x")
    if os.path.getsize(os.path.expanduser("~/launches")) <= TIMES:
        self.other = socket.create_server((self.ip, self.port))
    return listen(self)

ServerApp._bind_http_server_tcp = take_port_first
"""


@pytest.mark.parametrize(("times", "problem"), [(1, ""), (99, "exited")])
def test_port_taken(host_environment: Path, tmp_path: Path, times: int, problem: str) -> None:
    """A server that loses its port to another process is started again, a limited number of times."""
    home = tmp_path / "home"
    home.mkdir()
    assert configure(home, application="server")["problem"] == ""
    (home / ".jupyter" / "jupyter_server_config.py").write_text(CONFIG.replace("TIMES", str(times)))
    parameters = {
        "application": "server",
        "directory": "~",
        "nice": 0,
        "arguments": [],
        "prefix": [],
        "start_timeout_s": 60,
    }
    try:
        started = run_locally(home, "start_server", parameters | {"remote_port": free_port()})
    finally:
        run_locally(home, "stop_server", {"force": True, "stop_timeout_s": 10})
    assert started["problem"] == problem, started
    assert (home / "launches").read_text() == "x" * min(times + 1, MAX_LAUNCHES)
