"""A pool: one name for several hosts, of which one has the server."""

import asyncio
import json
from typing import Any

import asyncssh

from notebooks_over_ssh.sandbox.paths import HOSTS, POOL
from tests.kit.cli import User, assert_success
from tests.kit.jupyter_client import Browser
from tests.kit.ports import free_port
from tests.kit.users import PASSWORD


def test_tunnel_reaches_the_session_host(user: User) -> None:
    """The tunnel leads to the host on which the server was started, although the pool's name now leads to another."""
    output = assert_success(user.fab("-H", "student.compute", "serve")).stdout
    session = user.only_session()
    assert session["host"] in HOSTS
    assert f"on {session['host']}, port {session['remote_port']}" in output
    kernels: set[str] = set()
    elsewhere = 0
    for _ in range(2):
        # The pool's name leads to the next host each time, so to all others before the server's.
        elsewhere += run_on_pool(user, "uname -n").strip() != session["host"]
        port = free_port()
        assert_success(user.invoke("tunnel", "--local-port", str(port), "--detach"))
        with Browser(port, user.certificate_pem(session["host"])) as browser:
            assert browser.log_in(PASSWORD)
            assert browser.kernels() == kernels
            with browser.kernel() as kernel:
                output = kernel.run("import os; print(os.environ['HOSTNAME'], os.getppid())").text
            assert output.split() == [session["host"], str(session["pid"])]
            kernels = browser.kernels()
    assert elsewhere == 2
    second_run = assert_success(user.fab("-H", "student.compute", "serve")).stdout
    assert f"already running on {session['host']}, port {session['remote_port']}" in second_run
    assert_success(user.fab("stop"))


def run_on_pool(user: User, command: str) -> str:
    """Run a command on the pool's current host; returns its output."""
    port = json.loads((user.sandbox / "network.json").read_text())["network"]["gateway_port"]
    options: dict[str, Any] = {
        "username": "anybody", "client_keys": [str(user.sandbox / "client_key")], "known_hosts": None,
        "config": None, "agent_path": None,
    }  # fmt: skip

    async def run_command() -> str:
        async with (
            asyncssh.connect("127.0.0.1", port, **options) as gateway,
            gateway.connect_ssh(POOL, **options) as host,
        ):
            return str((await host.run(command, check=True)).stdout)

    return asyncio.run(run_command())
