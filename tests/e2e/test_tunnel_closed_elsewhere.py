"""Another command closes the tunnel of an `up` in the foreground: `on_exit` applies only to the user's Ctrl-C."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator

import psutil
import pytest

from tests.kit.cli import User, assert_success, interrupt
from tests.kit.leaks import is_alive
from tests.kit.users import PASSWORD
from tests.kit.wait import TIMEOUT_S

GOES_ON = "keeps running"


@contextlib.contextmanager
def in_foreground(user: User, on_exit: str) -> Iterator[subprocess.Popen[str]]:
    """An `up` in the foreground."""
    with user.running("fab", "-H", "ashbury", "up", INVOKE_NOTEBOOK_ON_EXIT=on_exit) as process:
        assert process.stdout
        assert any("ctrl-c" in line for line in iter(process.stdout.readline, ""))
        yield process


def wait_for_end(process: subprocess.Popen[str]) -> str:
    """The output until the process exits with 0 and without an error."""
    output, errors = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, errors) == (0, ""), output + errors
    return output


@pytest.mark.parametrize("on_exit", ["stop", "keep", "ask"])
def test_stop_elsewhere(user: User, on_exit: str) -> None:
    """When another `stop` ends the server, `up` exits too, and does not report that the server keeps running."""
    with in_foreground(user, on_exit) as process:
        assert_success(user.fab("stop"))
        output = wait_for_end(process)
    assert GOES_ON not in output
    assert "stop" not in output.split()
    assert user.status() == []


def test_restart_elsewhere(user: User) -> None:
    """Another `secure --restart` ends the tunnel of an `up` with on_exit: stop, which leaves the new server alone."""
    with in_foreground(user, "stop") as process:
        first = user.only_record()["pid"]
        secure = ("secure", "--renew", "--restart", "--password-file", "-")
        assert_success(user.fab(*secure, stdin=PASSWORD))
        wait_for_end(process)
    session = user.only_session()
    assert (session["server"], session["tunnel"]) == ("running", "open")
    assert session["pid"] != first and is_alive(psutil.Process(session["pid"]))
    assert_success(user.fab("stop"))


def test_sigterm_and_ctrl_c(user: User) -> None:
    """With on_exit: stop, SIGTERM closes the tunnel and leaves the server; Ctrl-C stops both."""
    with in_foreground(user, "stop") as process:
        process.send_signal(signal.SIGTERM)
        wait_for_end(process)
    session = user.only_session()
    assert (session["server"], session["tunnel"]) == ("running", "closed")
    with in_foreground(user, "stop") as process:
        interrupt(process)
        assert "stopped the server on ashbury" in wait_for_end(process)
    assert user.status() == []
