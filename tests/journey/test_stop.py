"""The end of a session, in order or not."""

import contextlib
import socket
from collections.abc import Iterator

import psutil

from tests.conftest import lives, processes_below
from tests.journey.browser import Browser
from tests.journey.conftest import PASSWORD
from tests.journey.program import User, free_port, kill, port_in, refused, succeeded


@contextlib.contextmanager
def busy_kernel(user: User) -> Iterator[int]:
    """A session with a kernel that computes; the PID of the kernel."""
    port = port_in(succeeded(user.fab("up", "--detach")))
    with Browser(port, user.certificate_pem(user.only_session()["host"])) as browser:
        assert browser.log_in(PASSWORD)
        with browser.kernel() as kernel:
            pid = int(kernel.run("import os, subprocess, sys, time; print(os.getpid())").text)
            request = kernel.begin(
                "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(900)'], start_new_session=True)\n"
                "print('it computes', flush=True); time.sleep(900)"
            )
            assert kernel.wait_for(request, "stream")["content"]["text"] == "it computes\n"
            assert browser.get(f"/api/kernels/{kernel.identity}")["execution_state"] == "busy"
    yield pid


def test_busy_kernel(user: User) -> None:
    """While a kernel computes, `stop` without a terminal stops nothing; with --force it and all it started are gone."""
    with busy_kernel(user) as kernel:
        running = psutil.Process(kernel).children() + [psutil.Process(kernel)]
        assert len(running) == 2
        done = refused(user.fab("stop"), 1, "a kernel computes")
        assert "--force" in done.stderr.partition("hint: ")[2]
        session = user.only_session()
        assert (session["server"], session["tunnel"]) == ("running", "open")
        server = psutil.Process(session["pid"])
        assert all(lives(process) for process in (*running, server))
        succeeded(user.invoke("stop", "--force"))
    assert not any(lives(process) for process in (*running, server))
    assert user.status() == []


def test_twice(user: User) -> None:
    """`stop` with nothing to stop ends with 0 and says so, with a host and without."""
    for arguments in (("stop",), ("stop", "--all"), ("-H", "ashbury", "stop"), ("stop", "--force")):
        assert succeeded(user.fab(*arguments)).stdout


def test_server_killed_behind_our_back(user: User) -> None:
    """When the server is gone without us, `status` says so, no tunnel leads there, `up` starts another."""
    # Ports that nothing else wants: what is shown here is what happens to just these.
    local_port, remote_port = free_port(), str(free_port())
    up = ("-H", "ashbury", "up", "--detach")
    succeeded(user.fab(*up, "--local-port", str(local_port), INVOKE_NOTEBOOK_REMOTE_PORT=remote_port))
    first = user.only_session()
    assert (first["local_port"], first["remote_port"]) == (local_port, int(remote_port))
    kill(first["pid"])
    session = user.only_session()
    assert session["server"] == "stopped"
    assert session["pid"] is None and session["remote_port"] is None
    refused(user.fab("-H", "ashbury", "tunnel", "--detach", "--local-port", str(local_port)), 6)

    with socket.create_server(("127.0.0.1", first["remote_port"])):
        # Somebody else has taken its port meanwhile: no tunnel leads there.
        done = succeeded(user.fab(*up, INVOKE_NOTEBOOK_REMOTE_PORT=remote_port))
        second = user.only_session()
        assert second["server"] == "running" and second["pid"] != first["pid"]
        assert second["remote_port"] != first["remote_port"]
        with Browser(port_in(done), user.certificate_pem("ashbury")) as browser:
            assert browser.log_in(PASSWORD)
        succeeded(user.fab("stop"))
    assert user.status() == []
    assert _servers(user) == []


def _servers(user: User) -> list[psutil.Process]:
    return [p for p in processes_below(user.home) if "jupyter" in " ".join(p.cmdline())]
