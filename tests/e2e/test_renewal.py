"""A password and a certificate that are renewed while the server runs: it uses the old ones until it is restarted."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.kit.cli import User, assert_error, assert_success, port_in
from tests.kit.jupyter_client import Browser, busy_kernel
from tests.kit.leaks import is_alive
from tests.kit.ports import free_port
from tests.kit.users import PASSWORD
from tests.kit.wait import TIMEOUT_S

NEW_PASSWORD = "the password after it"
KEEPS = "the running server uses an older password or certificate until it is restarted"


@pytest.fixture(autouse=True)
def _as_before(user: User) -> Iterator[None]:
    """Each test begins with PASSWORD, and ends without a server."""
    pem = user.jupyter_config.parent / "notebooks-over-ssh/server.pem"
    contents = {path: path.read_bytes() for path in (user.jupyter_config, pem)}
    yield
    user.stop_all_sessions()
    for path, content in contents.items():
        path.write_bytes(content)


def renew(user: User, *flags: str) -> str:
    """Set NEW_PASSWORD with `secure --renew`; returns the output."""
    result = assert_success(
        user.fab("secure", "--renew", *flags, "--password-file", "-", stdin=f"{NEW_PASSWORD}\n")
    )
    return result.stdout + result.stderr


def logs_in(user: User, port: int, certificate_pem: str, password: str) -> bool:
    with Browser(port, certificate_pem) as browser:
        return browser.log_in(password)


def test_without_a_restart(user: User) -> None:
    """Without a restart each command warns that the server uses the old ones, and they work, also through a new
    tunnel.
    """
    first_up = assert_success(user.fab("up", "--detach"))
    first = user.only_record()
    old = first["certificate_pem"]
    output = renew(user)
    assert f"warning: {KEEPS}: `" in output and "secure --restart` restarts it" in output
    assert logs_in(user, port_in(first_up), old, PASSWORD)
    assert not logs_in(user, port_in(first_up), old, NEW_PASSWORD)
    for words in (("secure",), ("serve",), ("up", "--detach")):
        result = assert_success(user.fab(*words))
        assert result.stderr.count("secure --restart") == 1, result.stderr
    tunnel = assert_success(user.fab("tunnel", "--detach", "--local-port", str(port_in(first_up) + 1000)))
    assert logs_in(user, port_in(tunnel), old, PASSWORD)
    assert user.only_session()["pid"] == first["pid"]


def test_with_a_restart(user: User) -> None:
    """`--restart` restarts the server on its host, with its tunnel on the same port; a second one does nothing."""
    # Ports that must still be free when the server is restarted.
    local_port, remote_port = free_port(), free_port()
    up = ("up", "--detach", "--local-port", str(local_port))
    assert_success(user.fab(*up, INVOKE_NOTEBOOK_REMOTE_PORT=str(remote_port)))
    first = user.only_record()
    old = first["certificate_pem"]
    renew(user)
    result = assert_success(user.fab("secure", "--restart"))
    assert KEEPS not in result.stderr and port_in(result) == local_port
    second = user.only_session()
    new = user.certificate_pem(second["host"])
    assert (second["host"], second["tunnel"]) == (first["host"], "open")
    assert second["remote_port"] == remote_port
    assert second["pid"] != first["pid"] and not psutil.pid_exists(first["pid"])
    assert new != old
    assert logs_in(user, port_in(result), new, NEW_PASSWORD)
    assert not logs_in(user, port_in(result), new, PASSWORD)
    assert "none was restarted" in assert_success(user.fab("secure", "--restart")).stdout
    assert user.only_session()["pid"] == second["pid"]


def test_up_with_a_restart(user: User) -> None:
    """`up --renew --restart` ends in a server that has the new password."""
    first = port_in(assert_success(user.fab("up", "--detach")))
    up = ("up", "--detach", "--renew", "--restart", "--password-file", "-")
    result = assert_success(user.fab(*up, stdin=f"{NEW_PASSWORD}\n"))
    assert "secure --restart" not in result.stderr
    assert logs_in(user, port_in(result), user.only_record()["certificate_pem"], NEW_PASSWORD), first


def test_busy_kernels(user: User, tmp_path: Path) -> None:
    """While a kernel computes, the server is not restarted without a terminal; at one it takes two confirmations."""
    file = tmp_path / "password"
    file.write_text(NEW_PASSWORD)
    with busy_kernel(user) as kernel:
        renew(user)
        assert_error(user.fab("secure", "--restart"), 1, "a kernel is busy")
        assert is_alive(psutil.Process(kernel))
        server = user.only_record()["pid"]
        with user.at_terminal("fab", "secure") as terminal:
            terminal.expect("restart it now")
            terminal.type("n")
            assert terminal.end() == 0, terminal.output
        assert user.only_session()["pid"] == server
        with user.at_terminal("fab", "secure") as terminal:
            terminal.expect("restart it now")
            terminal.type("y")
            terminal.expect("a kernel is busy")
            terminal.type("y")
            assert terminal.end() == 0, terminal.output
    assert not psutil.pid_exists(kernel)
    assert user.only_session()["pid"] != server


def test_server_restarted_during_the_prompt(user: User) -> None:
    """A yes restarts the server that the prompt was about; one that another command has started meanwhile is left
    alone.
    """
    assert_success(user.fab("serve"))
    renew(user)
    with user.at_terminal("fab", "secure") as terminal:
        terminal.expect("restart it now")
        assert_success(user.fab("stop"))
        assert_success(user.fab("serve"))
        server = user.only_record()["pid"]
        terminal.type("y")
        terminal.expect("none was restarted")
        assert terminal.end() == 0, terminal.output
    assert user.only_session()["pid"] == server


def test_server_ended_during_the_prompt(user: User) -> None:
    """A server without a record here that ended during the prompt is not started only to be stopped."""
    assert_success(user.fab("-H", "ashbury", "serve"))
    renew(user)
    server = psutil.Process(user.only_record()["pid"])
    for record in user.sessions.iterdir():
        record.unlink()
    with user.at_terminal("fab", "-H", "ashbury", "secure") as terminal:
        terminal.expect("restart it now")
        server.terminate()
        server.wait(TIMEOUT_S)
        terminal.type("y")
        terminal.expect("none was restarted")
        assert terminal.end() == 0, terminal.output
    assert user.status() == []
