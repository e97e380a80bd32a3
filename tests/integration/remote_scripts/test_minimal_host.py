"""A host needs no program but /bin/sh and the environment's Python."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kit.cli import run
from tests.kit.local_scripts import HASH, MARKER, VALIDITY, configure, request_here, run_locally
from tests.kit.ports import free_port

pytestmark = pytest.mark.usefixtures("host_environment")

SCRIPTS = Path(__file__).resolve().parents[3] / "notebooks_over_ssh" / "remote_scripts"
TIMEOUT_S = 30
# Terminates a process tree once it has three processes; prints how many there were and how many are left.
END = """
import sys, time
sys.path.insert(0, sys.argv[1])
import process_tree
deadline = time.monotonic() + 20
while len(process_tree.find_tree(int(sys.argv[2]))) < 3 and time.monotonic() < deadline:
    time.sleep(0.01)
processes = process_tree.find_tree(int(sys.argv[2]))
process_tree.terminate(processes, 5)
print(len(processes), sum(process_tree.process_start(pid) == start for pid, start in processes.items()))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a certificate, for which openssl is needed, and the server's working folder."""
    home = tmp_path / "home"
    (home / "work").mkdir(parents=True)
    assert configure(home, application="server", password_hash="")["problem"] == ""
    return home


def run_bare(home: Path, name: str, **parameters: Any) -> dict[str, Any]:
    """The reply of a program on a host whose PATH is empty."""
    reply = run_locally(home, name, parameters, variables={"PATH": str(home / "no programs")})
    assert reply["problem"] == "", reply
    return reply


def test_server(home: Path) -> None:
    """With an empty PATH the server is protected, starts at its niceness in a folder below $HOME, is found, and is
    stopped.
    """
    jupyter = {"application": "server", "directory": "$HOME/work"}
    digest = run_bare(home, "security_status", **jupyter)["credentials_digest"]
    password = {"password_hash": HASH, "certificate": "", "credentials_digest": digest, **VALIDITY}
    run_bare(home, "configure_security", **jupyter, **password)
    assert run_bare(home, "security_status", **jupyter)["password_problem"] == ""
    assert run_bare(home, "host_info", directory="$HOME/work")["directory_problem"] is None
    parameters = {
        "nice": 12,
        "remote_port": free_port(),
        "start_timeout_s": 60,
        "arguments": [],
        "prefix": [],
    }
    started = run_bare(home, "start_server", **jupyter, **parameters)
    try:
        assert started["directory"] == str(home / "work")
        assert os.getpriority(os.PRIO_PROCESS, started["pid"]) == max(12, os.nice(0))
        assert run_bare(home, "server_status")["pid"] == started["pid"]
        assert run_bare(home, "port_owners", ports=[started["port"]])["foreign"] == []
    finally:
        stopped = run_bare(home, "stop_server", force=True, stop_timeout_s=10)
    assert (stopped["was_running"], stopped["pid"]) == (True, started["pid"])


def test_descendants(host_environment: Path, tmp_path: Path) -> None:
    """A process is terminated with all its descendants, without ps, whatever the programs are called."""
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to("/bin/sh")
    waits = 'read -r line <"$0"'
    os.mkfifo(tmp_path / "never")
    command = f'"$1" -c \'{waits}; :\' "$0" & "$1" -c \'{waits}; :\' "$0" & wait'
    with subprocess.Popen(["/bin/sh", "-c", command, tmp_path / "never", odd]) as process:
        end_tree = (str(host_environment / "bin/python"), "-B", "-c", END, str(SCRIPTS), str(process.pid))
        result = run(*end_tree, env={"PATH": str(tmp_path / "no programs")})
        process.kill()
    assert result.stdout == "3 0\n", result.stderr


@pytest.mark.parametrize("lines", [0, 1, 2, 3, 9])
@pytest.mark.parametrize(
    "text", ["", "\n", "one", "one\n", "one\ntwo\nthree", "one\n\nthree\n", "ä" * 100_000 + "\nb\n"]
)
def test_tail_of_a_log(tmp_path: Path, text: str, lines: int) -> None:
    """The last lines of a log are printed as they are, as many as exist, without tail."""
    log = tmp_path / ".local/state/notebooks-over-ssh/elsewhere/server.log"
    log.parent.mkdir(parents=True)
    log.write_text(text, "utf-8")
    output = output_here(tmp_path, "tail_log", {"host": "elsewhere", "lines": lines, "follow": False})
    assert output == "".join(text.splitlines(True)[-lines:] if lines else [])


def output_here(home: Path, name: str, parameters: dict[str, Any]) -> str:
    """The output of a program after its reply, with an empty PATH."""
    command, stdin = request_here(name, parameters)
    result = subprocess.run(
        ["/bin/sh", "-c", command],
        input=stdin,
        capture_output=True,
        env={"HOME": str(home), "PATH": str(home / "no programs")},
        timeout=TIMEOUT_S,
        check=True,
    )
    _, separator, rest = result.stdout.decode().partition(f"\n{MARKER} {{")
    assert separator, result
    return rest.partition("\n")[2]
