"""Concurrent starts, Ctrl-C during a command, and a lost network."""

import contextlib
import json
import re
import subprocess

import psutil

from tests.kit.cli import User, assert_success, interrupt, kill, port_in
from tests.kit.jupyter_client import Browser
from tests.kit.leaks import command_line, processes_below
from tests.kit.users import PASSWORD
from tests.kit.wait import TIMEOUT_S, wait_until


def servers(user: User) -> list[psutil.Process]:
    """The running notebook servers."""
    return [p for p in processes_below(user.home) if "jupyter-notebook" in " ".join(command_line(p))]


def tunnels(user: User) -> list[psutil.Process]:
    """The running processes of background tunnels, which outlive their tunnels with the login."""
    return [p for p in processes_below(user.home) if "notebooks_over_ssh.tunnel.daemon" in command_line(p)]


def daemon(user: User) -> int:
    """The PID of the sandbox's daemon."""
    pid: int = json.loads((user.sandbox / "network.json").read_text())["network"]["pid"]
    return pid


def test_concurrent_serve(user: User) -> None:
    """Of several concurrent `serve` one starts the server, and the others find it."""
    commands = (("fab", "-H", "ashbury", "serve"), ("invoke", "serve", "--host", "ashbury")) * 2
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(user.running(*command)) for command in commands]
        outputs = [process.communicate(timeout=TIMEOUT_S) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(commands), outputs
    assert sorted("already running" in output for output, _ in outputs) == [False] + [True] * (
        len(commands) - 1
    )
    (server,) = servers(user)
    assert user.only_session()["pid"] == server.pid
    assert_success(user.fab("stop"))


def test_ctrl_c_during_up(user: User) -> None:
    """Ctrl-C during a step of `up --detach`, or between two, leaves at most a server, which the next `up` uses, and a
    tunnel that was open already, which is then named.
    """

    def secured(process: subprocess.Popen[str]) -> bool:
        return _says("secure", process)

    record = user.remote_state("ashbury") / "server.json"
    record.unlink(missing_ok=True)  # the server of an earlier test, which was killed

    def starts(process: subprocess.Popen[str]) -> bool:
        wait_until(record.exists, "the server was started")
        return True

    def serves(process: subprocess.Popen[str]) -> bool:
        return _says("serve", process)

    def has_no_tunnel() -> bool:
        user.end_logins()
        return not tunnels(user)

    for moment in (starts, secured, serves):
        with user.running("fab", "-H", "ashbury", "up", "--detach") as process:
            assert moment(process)
            running = servers(user)
            interrupt(process)
            assert process.stdout and process.stderr
            # Not communicate(), which would lose what was read ahead.
            output, errors = process.stdout.read(), process.stderr.read()
            process.wait(TIMEOUT_S)
        assert "Traceback" not in output + errors
        assert set(running) <= set(servers(user))
        assert len(servers(user)) <= 1
        if "ready" in output:
            continue  # the command had finished
        assert process.returncode == 130, output + errors
        assert errors.endswith("interrupted\n")
        if moment is serves:
            assert re.search(
                r"the server on ashbury( and the tunnel on port \d+ keep| keeps) running", errors
            )
        if "and the tunnel on port" not in errors:
            wait_until(has_no_tunnel, "no tunnel is left")
    up = assert_success(user.fab("-H", "ashbury", "up", "--detach"))
    assert [process.pid for process in servers(user)] == [user.only_session()["pid"]]
    with Browser(port_in(up), user.certificate_pem("ashbury")) as browser:
        assert browser.log_in(PASSWORD)
    assert len(tunnels(user)) == 1
    assert_success(user.fab("stop"))
    user.end_logins()
    assert servers(user) == []
    wait_until(lambda: tunnels(user) == [], "no process is left")


def test_lost_network(user: User) -> None:
    """When the network goes down, the tunnel ends, `status` reports the server as unreachable, and the next command
    reconnects.
    """
    assert_success(user.fab("-H", "ashbury", "up", "--detach"))
    before = user.only_session()
    kill(daemon(user))
    wait_until(lambda: user.only_session()["tunnel"] == "closed", "the tunnel has ended")
    session = user.only_session()
    assert session["server"] == "unreachable"
    assert session["url"] is None

    with Browser(
        port_in(assert_success(user.fab("tunnel", "--detach"))), user.certificate_pem("ashbury")
    ) as browser:
        assert browser.log_in(PASSWORD)
    after = user.only_session()
    assert (after["server"], after["tunnel"], after["pid"]) == ("running", "open", before["pid"])

    kill(daemon(user))
    assert_success(user.fab("stop"))
    assert servers(user) == []
    assert user.status() == []


def _says(what: str, process: subprocess.Popen[str]) -> bool:
    assert process.stdout
    return any(line.startswith(what) for line in iter(process.stdout.readline, ""))
