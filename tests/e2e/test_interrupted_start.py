"""After a start that is interrupted, or cannot be recorded, no server runs that `status` and `stop` do not find."""

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from getpass import getuser
from typing import Any

import psutil
import pytest

from tests.kit.cli import User, assert_error, assert_success
from tests.kit.leaks import processes_below
from tests.kit.small_disk import small_disk
from tests.kit.wait import TIMEOUT_S, wait_until

SERVE = ("fab", "-H", "ashbury", "serve")
Moment = Callable[[User], bool]

# Files, here or on the host, in the order in which they appear.
MOMENTS: dict[str, Moment] = {
    "the lock": lambda user: (user.remote_state("ashbury") / "lock").exists(),
    "the pending session": lambda user: any(user.sessions.glob("*.pending.json")),
    "the access token": lambda user: (user.remote_state("ashbury") / "token").exists(),
    "the server's record": lambda user: (user.remote_state("ashbury") / "server.json").exists(),
    "the server's port": lambda user: any((user.remote_state("ashbury") / "runtime").glob("jpserver-*.json")),
    "the session": lambda user: any(user.sessions.glob("*.session.json")),
}


def servers(user: User) -> list[psutil.Process]:
    """The processes of Jupyter, and of the programs that start it, without their child processes."""
    state = str(user.remote_home)

    def is_server(process: psutil.Process) -> bool:
        return "jupyter" in " ".join(process.cmdline()) or process.environ().get(
            "JUPYTER_RUNTIME_DIR", ""
        ).startswith(state)

    parents: dict[psutil.Process, int] = {}
    for process in processes_below(user.home):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
            if is_server(process):
                parents[process] = process.ppid()
    pids = {process.pid for process in parents}
    return [process for process, parent in parents.items() if parent not in pids]


def assert_all_known(user: User) -> None:
    """`status` shows each running server, a second `serve` finds it, `stop` ends it, and nothing is left on either
    side.
    """
    sessions = user.status()
    assert len(sessions) <= 1
    first = latest = _running(sessions)

    def is_on_record() -> bool:
        nonlocal latest
        if latest == [process.pid for process in servers(user)]:
            return True
        latest = _running(user.status())
        return False

    if sessions:
        # A start that was confirmed continues, and shows once the host has recorded it.
        wait_until(is_on_record, "every server is on record")
    assert sessions or not servers(user), "an unrecorded server runs"
    assert first == [] or first == [process.pid for process in servers(user)]
    assert_success(user.fab("stop"))
    wait_until(lambda: not servers(user), "no server runs")
    assert user.status() == []
    assert list(user.sessions.glob("*")) == []
    assert not (user.remote_state("ashbury") / "server.json").exists()


def _running(sessions: list[dict[str, Any]]) -> list[int]:
    """The PIDs of the servers that run."""
    return [session["pid"] for session in sessions if session["server"] == "running"]


@pytest.fixture
def clean(user: User) -> Iterator[User]:
    """The user, without files of an earlier server on the host."""
    shutil.rmtree(user.remote_state("ashbury"), ignore_errors=True)
    yield user
    user.stop_all_sessions()


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name
)
@pytest.mark.parametrize("moment", MOMENTS)
def test_interrupted(clean: User, moment: str, number: signal.Signals) -> None:
    """At whatever step a signal ends `serve`, the server is on record; a signal that can be handled prints a warning
    about it.
    """
    with clean.running(*SERVE) as process:
        wait_until(lambda: MOMENTS[moment](clean) or process.poll() is not None, moment)
        was_starting = MOMENTS["the pending session"](clean)
        process.send_signal(number)
        output, errors = process.communicate(timeout=TIMEOUT_S)
    assert "Traceback" not in output + errors
    assert "Exception ignored" not in errors
    if was_starting and number is not signal.SIGKILL and not MOMENTS["the session"](clean):
        assert "the server on ashbury may be running" in errors
    assert_all_known(clean)


def test_stop_after_kill(clean: User) -> None:
    """A `stop` right after a killed `serve` waits for the server that is starting, and ends it."""
    with clean.running(*SERVE) as process:
        wait_until(lambda: MOMENTS["the pending session"](clean), "the pending session")
        process.kill()
        process.wait(TIMEOUT_S)
    assert_success(clean.fab("stop"))
    wait_until(lambda: not servers(clean), "no server runs")
    assert clean.status() == []


def test_second_run_repairs(clean: User) -> None:
    """After a kill, `serve` finds the server or starts it, and the session is complete."""
    with clean.running(*SERVE) as process:
        wait_until(lambda: MOMENTS["the server's record"](clean), "the server's record")
        process.kill()
        process.wait(TIMEOUT_S)
    pids = [process.pid for process in servers(clean)]
    assert_error(clean.fab("tunnel", "--detach"), 1, "interrupted", "serve")
    assert_success(clean.fab("serve"))
    assert [clean.only_session()["pid"]] == pids
    assert clean.record("ashbury")["pid"] == pids[0]
    assert not list(clean.sessions.glob("*.pending.json"))
    assert_all_known(clean)


def test_start_timeout(clean: User) -> None:
    """A server that does not answer in time is on record, so that the command in the hint (stop --force) ends it."""
    slow = clean.jupyter_config.with_suffix(".py")
    slow.write_text("import time\ntime.sleep(600)\n")
    try:
        result = clean.fab(*SERVE[1:], INVOKE_NOTEBOOK_START_TIMEOUT_S="5")
    finally:
        slow.unlink()
    assert_error(result, 6, "does not answer", "stop --force")
    session = clean.only_session()
    assert (session["user"], session["host"], session["server"]) == (getuser(), "ashbury", "running")
    assert (session["application"], session["remote_port"], session["tunnel"]) == ("notebook", None, "closed")
    assert [session["pid"]] == [process.pid for process in servers(clean)]
    output = assert_success(clean.fab("status")).stdout
    assert f"{getuser()}@ashbury" in output and "running" in output
    assert "stopped the server on" in assert_success(clean.fab("stop", "--force")).stdout
    wait_until(lambda: not servers(clean), "no server runs")
    assert clean.status() == []


@pytest.mark.parametrize("free", range(3))
def test_full_disk(clean: User, free: int) -> None:
    """With that many pages (4 KiB) free where sessions are recorded, `serve` fails and no unrecorded server runs."""
    clean.sessions.mkdir(mode=0o700, parents=True, exist_ok=True)
    with small_disk(clean.sessions, "size=16k"):
        with contextlib.suppress(OSError), (clean.sessions / "full").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        os.truncate(clean.sessions / "full", (4 - free) * 4096)
        result = clean.fab(*SERVE[1:])
        if free == 0:
            assert_error(result, 1, "No space left on device")
            assert servers(clean) == []
        elif free == 1:
            assert_error(result, 1, "the server is running on ashbury", "No space left on device")
        else:
            assert_success(result)
        sessions = clean.status()
        assert bool(sessions) == bool(servers(clean))
        assert_success(clean.fab("stop"))
        wait_until(lambda: not servers(clean), "no server runs")
        (clean.sessions / "full").unlink()
        assert list(clean.sessions.glob("*")) == []
