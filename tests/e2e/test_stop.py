"""The end of a session, clean or not."""

import socket

import psutil

from tests.kit.cli import User, assert_error, assert_success, kill, port_in
from tests.kit.jupyter_client import Browser, busy_kernel
from tests.kit.leaks import command_line, is_alive, processes_below
from tests.kit.ports import free_port
from tests.kit.users import PASSWORD


def test_busy_kernel(user: User) -> None:
    """While a kernel computes, `stop` without a terminal stops nothing; with --force the kernel and its children are
    gone.
    """
    with busy_kernel(user) as kernel:
        running = psutil.Process(kernel).children() + [psutil.Process(kernel)]
        assert len(running) == 2
        result = assert_error(user.fab("stop"), 1, "a kernel is busy")
        assert "--force" in result.stderr.partition("hint: ")[2]
        session = user.only_session()
        assert (session["server"], session["tunnel"]) == ("running", "open")
        server = psutil.Process(session["pid"])
        assert all(is_alive(process) for process in (*running, server))
        assert_success(user.invoke("stop", "--force"))
    assert not any(is_alive(process) for process in (*running, server))
    assert user.status() == []


def test_twice(user: User) -> None:
    """`stop` with nothing to stop exits with 0 and says so, with a host and without."""
    for arguments in (("stop",), ("stop", "--all"), ("-H", "ashbury", "stop"), ("stop", "--force")):
        assert assert_success(user.fab(*arguments)).stdout


def test_server_was_killed(user: User) -> None:
    """When the server was killed, `status` reports it, no tunnel leads to its port, and `up` starts another."""
    # Ports that no other test uses.
    local_port, remote_port = free_port(), str(free_port())
    up = ("-H", "ashbury", "up", "--detach")
    assert_success(user.fab(*up, "--local-port", str(local_port), INVOKE_NOTEBOOK_REMOTE_PORT=remote_port))
    first = user.only_session()
    assert (first["local_port"], first["remote_port"]) == (local_port, int(remote_port))
    kill(first["pid"])
    session = user.only_session()
    assert session["server"] == "stopped"
    assert session["pid"] is None and session["remote_port"] is None
    assert_error(user.fab("-H", "ashbury", "tunnel", "--detach", "--local-port", str(local_port)), 6)

    with socket.create_server(("127.0.0.1", first["remote_port"])):
        # Another program has taken its port meanwhile: no tunnel leads to it.
        result = assert_success(user.fab(*up, INVOKE_NOTEBOOK_REMOTE_PORT=remote_port))
        second = user.only_session()
        assert second["server"] == "running" and second["pid"] != first["pid"]
        assert second["remote_port"] != first["remote_port"]
        with Browser(port_in(result), user.certificate_pem("ashbury")) as browser:
            assert browser.log_in(PASSWORD)
        assert_success(user.fab("stop"))
    assert user.status() == []
    assert _servers(user) == []


def _servers(user: User) -> list[psutil.Process]:
    return [p for p in processes_below(user.home) if "jupyter" in " ".join(command_line(p))]
