"""The plain port of a tunnel that loses its connection, and of one whose server ends."""

import threading

import httpx
import psutil

from tests.kit.cli import assert_success
from tests.kit.plain_client import PlainAddress, plain_address
from tests.kit.port_takeover import take_over_port
from tests.kit.ports import free_port
from tests.kit.proxied_tunnel import MB, OUTAGE_TIMEOUT_S, ProxiedNetwork, Workload, running_workload
from tests.kit.sshd import LOOPBACK


def test_outage_and_next_server(proxied: ProxiedNetwork) -> None:
    """A request during an outage waits, and is answered after it; address, token and kernel stay. When the server has
    ended, requests get 502 and a sentence, and the next program on its port gets nothing. The next server is served at
    the same address, although its certificate and its token are others.
    """
    # A server's port is one that no other server would take next.
    notebook = {"host": f"{LOOPBACK}:{proxied.second.port}", "remote_port": free_port(), "plain": True}
    proxied.network.configure(gateway=f"{LOOPBACK}:{proxied.first.port}", notebook=notebook)
    with running_workload(proxied, MB) as work:
        address = plain_address(proxied.user)
        assert_waits_for_end_of_outage(proxied, address)
        assert_next_server_is_served(proxied, work, address)


def assert_waits_for_end_of_outage(proxied: ProxiedNetwork, address: PlainAddress) -> None:
    """A request during an outage is answered after it; address, token and kernel stay."""
    with address.kernel() as kernel:
        assert kernel.run("kept = 41").status == "ok"
        proxied.first.refuse()
        proxied.wait_for("reconnecting")
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda url=url: statuses.append(get_status(url)))
            for url in (f"{address.base}api/kernels?token={address.token}", f"{address.base}api/kernels")
        ]
        for thread in threads:
            thread.start()
        before = proxied.first.refused_count
        proxied.wait_until(lambda: proxied.first.refused_count >= before + 2, "two attempts were refused")
        assert statuses == []
        proxied.first.resume()
        for thread in threads:
            thread.join(OUTAGE_TIMEOUT_S)
        assert sorted(statuses) == [200, 403]
        assert plain_address(proxied.user) == address
        with address.attach(kernel.identity) as same:
            assert same.run("kept + 1").text == "42"


def get_status(url: str) -> int:
    """The status code of a GET that may take as long as an outage."""
    return httpx.get(url, timeout=OUTAGE_TIMEOUT_S, trust_env=False).status_code


def assert_next_server_is_served(proxied: ProxiedNetwork, work: Workload, address: PlainAddress) -> None:
    """While no server runs, requests get 502; the next server is served at the same address."""
    with address.client() as client:
        assert client.get("api/kernels").status_code == 200
        psutil.Process(work.before["pid"]).kill()
        with take_over_port(work.before["remote_port"], proxied.network.folder) as takeover:
            proxied.wait_until(lambda: proxied.record().get("login_required"), "the end is noticed")
            response = client.get("api/kernels")
            assert response.status_code == 502
            assert response.text.startswith(f"the Jupyter server on {LOOPBACK} has ended; ")
            assert_success(proxied.user.fab("secure", "--renew", stdin=""))
            assert_success(proxied.user.fab("serve"))
            proxied.wait_until(lambda: proxied.record().get("state") == "open", "the tunnel is open again")
            assert client.get("api/kernels").status_code == 200
            assert (takeover.connections, takeover.requests) == (0, [])
        assert plain_address(proxied.user) == address
        assert_no_secret_in_logs(proxied, address)


def assert_no_secret_in_logs(proxied: ProxiedNetwork, address: PlainAddress) -> None:
    """Neither the tunnel's log nor its record has a token."""
    (token_file,) = proxied.network.remote_home.glob(".local/state/notebooks-over-ssh/*/token")
    for secret in (address.token, token_file.read_text().strip()):
        assert secret not in proxied.log() + str(proxied.record())
