"""When a server ends, anybody can take its port: the tunnel connects nobody to it, says so, and follows the next
server.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from notebooks_over_ssh.tunnel.server_monitor import VERIFICATION_TTL_S
from tests.kit.cli import assert_success
from tests.kit.port_takeover import take_over_port
from tests.kit.ports import free_port
from tests.kit.proxied_tunnel import (
    MB,
    OUTAGE_TIMEOUT_S,
    PASSWORD,
    DownloadClient,
    ProxiedNetwork,
    Workload,
    background_request,
    running_workload,
)
from tests.kit.sshd import LOOPBACK
from tests.kit.wait import elapsed, wait_until

ENDED = "has ended"


@pytest.fixture(autouse=True)
def port_of_its_own(proxied: ProxiedNetwork) -> None:
    """The server's port is one that no other server on this machine would take next."""
    notebook = {"host": f"{LOOPBACK}:{proxied.second.port}", "remote_port": free_port()}
    proxied.network.configure(gateway=f"{LOOPBACK}:{proxied.first.port}", notebook=notebook)


@contextlib.contextmanager
def credulous_login(port: int) -> Iterator[list[int]]:
    """A client that does not check the certificate sends the password; yields the status codes of the answers."""
    statuses: list[int] = []

    def post() -> None:
        with (
            contextlib.suppress(httpx.HTTPError),
            httpx.Client(verify=False, trust_env=False, timeout=OUTAGE_TIMEOUT_S) as client,
        ):
            answer = client.post(f"https://localhost:{port}/login", data={"password": PASSWORD})
            statuses.append(answer.status_code)

    thread = threading.Thread(target=post)
    thread.start()
    try:
        yield statuses
    finally:
        thread.join(OUTAGE_TIMEOUT_S * 2)
        assert not thread.is_alive()


def end_server(proxied: ProxiedNetwork, work: Workload, how: str) -> None:
    """End the server, and wait until it has ended."""
    server = psutil.Process(work.before["pid"])
    if how == "killed":
        server.kill()
    else:
        headers = {"X-XSRFToken": work.client._xsrf}
        assert work.client._client.post("/api/shutdown", headers=headers).status_code == 200
    proxied.wait_until(lambda: not server.is_running() or server.status() == "zombie", "the server has ended")


def wait_for_ended(proxied: ProxiedNetwork) -> dict[str, Any]:
    """Wait until `status` reports that the server has ended; returns the session."""
    proxied.wait_until(
        lambda: proxied.record().get("login_required"), "the record says that the server has ended"
    )
    session = proxied.user.only_session()
    assert (session["tunnel"], session["server"]) == ("reconnecting", "stopped")
    assert "serve` starts it again" in assert_success(proxied.user.fab("status")).stdout
    return session


def assert_next_server(proxied: ProxiedNetwork, work: Workload) -> None:
    """The tunnel leads from the same port to the server that runs now."""
    proxied.wait_for("open")
    now = proxied.user.only_session()
    assert now["login_required"] is None
    assert (now["local_port"], proxied.record()["pid"]) == (work.before["local_port"], work.pid)
    assert proxied.record()["remote_port"] == now["remote_port"]
    with DownloadClient(now["local_port"], proxied.user.certificate_pem(LOOPBACK)) as client:
        assert client.log_in(PASSWORD)


def test_next_server(proxied: ProxiedNetwork) -> None:
    """Another program on the server's port gets no connection; clients wait, and reach the server that `serve` starts
    next. When the server ended during an outage, the tunnel reports it after each reconnect. A server with a renewed
    certificate, on the same port, is followed as well.
    """
    with running_workload(proxied, MB) as work:
        for how in ("shut down in Jupyter", "killed"):
            assert_port_is_taken_over(proxied, work, how)
            work.before = proxied.user.only_session()

        outages = proxied.log().count("reconnecting,")
        proxied.first.refuse()
        proxied.wait_for("reconnecting")
        end_server(proxied, work, "killed")
        proxied.first.resume()
        wait_for_ended(proxied)
        proxied.first.refuse()
        proxied.wait_until(
            lambda: proxied.log().count("reconnecting,") == outages + 2, "another outage is noticed"
        )
        proxied.first.resume()
        wait_for_ended(proxied)
        assert_success(proxied.user.fab("serve"))
        assert_next_server(proxied, work)
        work.before = proxied.user.only_session()

        end_server(proxied, work, "killed")
        wait_for_ended(proxied)
        assert_success(proxied.user.fab("secure", "--renew", stdin=""))
        assert_success(proxied.user.fab("serve"))
        proxied.wait_for("open")
        now = proxied.user.only_session()
        assert now["certificate_sha256"] != work.before["certificate_sha256"]
        assert proxied.record()["pid"] == work.pid
        with DownloadClient(now["local_port"], proxied.user.certificate_pem(LOOPBACK)) as client:
            assert client.status("/login") == 200


def assert_port_is_taken_over(proxied: ProxiedNetwork, work: Workload, how: str) -> None:
    """When the server has ended and another program has its port, clients wait for the next server."""
    log_start = len(proxied.log())
    end_server(proxied, work, how)
    with take_over_port(work.before["remote_port"], proxied.network.folder) as takeover:
        assert ENDED in wait_for_ended(proxied)["login_required"]
        with credulous_login(work.before["local_port"]) as statuses:
            assert_success(proxied.user.fab("serve"))
            proxied.wait_until(lambda: statuses, "the next server answers")
        assert proxied.user.only_session()["remote_port"] != work.before["remote_port"]
        assert_next_server(proxied, work)
        assert (takeover.connections, takeover.requests) == (0, [])
    log = proxied.log()[log_start:]
    assert ENDED in log
    # The process that opened the tunnel, not the tunnel's own.
    assert "invoke serve` has started a server" in log


def test_without_a_watching_program(proxied: ProxiedNetwork) -> None:
    """Where the host runs no program, the server is verified before each connection, and a program on its port is
    not. A server that could not be verified because the connection was lost is verified over the next one.
    """
    host, gateway = proxied.network.host, proxied.network.gateway
    options = host.options
    with running_workload(proxied, MB) as work:
        host.stop()
        host.start(*options, "MaxSessions 0")
        try:
            proxied.wait_for_outages(1)
            verified_at = time.monotonic()
            processes = gateway.children()
            for process in processes:
                process.suspend()
            try:
                wait_until(elapsed(verified_at, VERIFICATION_TTL_S), "the verification has expired")
                with background_request(work.client) as request:
                    proxied.wait_for_outages(2)
                assert request.result() == 200
                assert proxied.record()["state"] == "open", proxied.log()
            finally:
                for process in processes:
                    process.resume()

            assert work.client.status("/api/kernels") == 200
            proved_at = time.monotonic()
            end_server(proxied, work, "killed")
            wait_until(elapsed(proved_at, VERIFICATION_TTL_S), "the verification has expired")
            with take_over_port(work.before["remote_port"], proxied.network.folder) as takeover:
                with credulous_login(work.before["local_port"]) as statuses:
                    proxied.wait_until(lambda: proxied.record().get("login_required"), "the record says so")
                    assert "is not your server" in proxied.record()["login_required"]
                    host.stop()
                    host.start(*options)
                    assert_success(proxied.user.fab("serve"))
                    proxied.wait_until(lambda: statuses, "the next server answers")
                assert takeover.requests == []
            assert_next_server(proxied, work)
        finally:
            host.stop()
            host.start(*options)
