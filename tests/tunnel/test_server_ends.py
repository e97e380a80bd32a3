"""A server that ends leaves its port to anybody: the tunnel leads nobody there, says so, and goes on to the next server."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from notebooks_over_ssh.tunnel.server_monitor import PROOF_COUNTS_S
from tests.journey.program import succeeded
from tests.openssh.network import LOOPBACK, free_port, wait_until
from tests.tunnel.taker import taken
from tests.tunnel.way import MB, OUTAGE_PATIENCE_S, PASSWORD, Way, Window, Work, since, working

ENDED = "has ended"


@pytest.fixture(autouse=True)
def port_of_its_own(way: Way) -> None:
    """The server's port is one that no other server on this machine would take next."""
    notebook = {"host": f"{LOOPBACK}:{way.second.port}", "remote_port": free_port()}
    way.network.configure(gateway=f"{LOOPBACK}:{way.first.port}", notebook=notebook)


@contextlib.contextmanager
def credulous_login(port: int) -> Iterator[list[int]]:
    """Somebody who asks for no certificate sends the password; yields the status of the answer, once there is one."""
    statuses: list[int] = []

    def post() -> None:
        with (
            contextlib.suppress(httpx.HTTPError),
            httpx.Client(verify=False, trust_env=False, timeout=OUTAGE_PATIENCE_S) as client,
        ):
            answer = client.post(f"https://localhost:{port}/login", data={"password": PASSWORD})
            statuses.append(answer.status_code)

    thread = threading.Thread(target=post)
    thread.start()
    try:
        yield statuses
    finally:
        thread.join(OUTAGE_PATIENCE_S * 2)
        assert not thread.is_alive()


def end(way: Way, work: Work, how: str) -> None:
    """End the server, and wait until it has."""
    server = psutil.Process(work.before["pid"])
    if how == "killed":
        server.kill()
    else:
        headers = {"X-XSRFToken": work.window._xsrf}
        assert work.window._client.post("/api/shutdown", headers=headers).status_code == 200
    way.wait_until(lambda: not server.is_running() or server.status() == "zombie", "the server has ended")


def says_that_it_ended(way: Way) -> dict[str, Any]:
    """Wait until `status` says that the server has ended; returns what it says."""
    way.wait_until(lambda: way.record().get("waits_for_you"), "the tunnel says that its server ended")
    session = way.user.only_session()
    assert (session["tunnel"], session["server"]) == ("reconnecting", "stopped")
    assert "serve` starts it again" in succeeded(way.user.fab("status")).stdout
    return session


def leads_to_the_next(way: Way, work: Work) -> None:
    """The tunnel leads from the same port to the server that runs now."""
    way.wait_for("open")
    now = way.user.only_session()
    assert now["login_required"] is None
    assert (now["local_port"], way.record()["pid"]) == (work.before["local_port"], work.pid)
    assert way.record()["remote_port"] == now["remote_port"]
    with Window(now["local_port"], way.user.certificate_pem(LOOPBACK)) as window:
        assert window.log_in(PASSWORD)


@pytest.mark.parametrize("how", ["killed", "shut down in Jupyter"])
def test_its_port_is_taken(way: Way, how: str) -> None:
    """Who has taken the port gets no connection; who connects waits, and gets to the server that `serve` starts then."""
    with working(way, MB) as work:
        end(way, work, how)
        with taken(work.before["remote_port"], way.network.folder) as taker:
            assert ENDED in says_that_it_ended(way)["login_required"]
            with credulous_login(work.before["local_port"]) as statuses:
                succeeded(way.user.fab("serve"))
                way.wait_until(lambda: statuses, "the next server answers")
            assert way.user.only_session()["remote_port"] != work.before["remote_port"]
            leads_to_the_next(way, work)
            assert (taker.connections, taker.requests) == (0, [])
        assert ENDED in way.log()
        # The program that opened the tunnel, which its own process is not.
        assert "invoke serve` starts a server" in way.log()


def test_another_password_and_certificate(way: Way) -> None:
    """A server with a renewed certificate, on the same port, is followed as well."""
    with working(way, MB) as work:
        end(way, work, "killed")
        says_that_it_ended(way)
        succeeded(way.user.fab("secure", "--renew", stdin=""))
        succeeded(way.user.fab("serve"))
        way.wait_for("open")
        now = way.user.only_session()
        assert now["certificate_sha256"] != work.before["certificate_sha256"]
        assert way.record()["pid"] == work.pid
        with Window(now["local_port"], way.user.certificate_pem(LOOPBACK)) as window:
            assert window.status("/login") == 200


def test_nothing_can_watch(way: Way) -> None:
    """Where the host runs no program, the server proves itself before anybody is led there, and who took its port cannot."""
    host = way.network.host
    options = host.options
    with working(way, MB) as work:
        host.stop()
        host.start(*options, "MaxSessions 0")
        try:
            way.wait_until_noticed(1)
            assert work.window.status("/api/kernels") == 200
            proved_at = time.monotonic()
            end(way, work, "killed")
            wait_until(since(proved_at, PROOF_COUNTS_S), OUTAGE_PATIENCE_S, "the proof counts no longer")
            with taken(work.before["remote_port"], way.network.folder) as taker:
                with credulous_login(work.before["local_port"]) as statuses:
                    way.wait_until(lambda: way.record().get("waits_for_you"), "the tunnel says so")
                    assert "is not your server" in way.record()["waits_for_you"]
                    host.stop()
                    host.start(*options)
                    succeeded(way.user.fab("serve"))
                    way.wait_until(lambda: statuses, "the next server answers")
                assert taker.requests == []
            leads_to_the_next(way, work)
        finally:
            host.stop()
            host.start(*options)


def test_ended_in_an_outage(way: Way) -> None:
    """Where the server has ended while the way was lost, the tunnel that is back says so, and follows the next one."""
    with working(way, MB) as work:
        way.first.bar()
        way.wait_for("reconnecting")
        end(way, work, "killed")
        way.first.admit()
        says_that_it_ended(way)
        succeeded(way.user.fab("serve"))
        leads_to_the_next(way, work)
