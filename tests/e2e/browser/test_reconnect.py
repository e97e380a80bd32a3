"""The connection is lost while a notebook is open: the page reconnects by itself, to the same kernel."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.kit.browsers import READY, Browser, log_in, run_cell
from tests.kit.cli import User, assert_success, port_in
from tests.kit.mitm_sshd import AsyncioThread
from tests.kit.tcp_proxy import TcpProxy
from tests.kit.users import PASSWORD
from tests.kit.wait import wait_until


@pytest.fixture
def proxy(user: User) -> Iterator[TcpProxy]:
    """A TCP proxy before the sandbox's gateway."""
    network = json.loads((user.sandbox / "network.json").read_text())["network"]
    with closing(AsyncioThread()) as loop, closing(TcpProxy(loop, network["gateway_port"])) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def user(sandbox_user: User) -> User:
    """A user whose sandbox runs."""
    return sandbox_user


@pytest.fixture
def settings(user: User, proxy: TcpProxy, tmp_path: Path) -> str:
    """A settings file in which the gateway is the proxy, as any other gateway."""
    known_hosts = (user.sandbox / "known_hosts").read_text()
    ours = user.home / ".ssh/known_hosts"
    ours.parent.mkdir(mode=0o700, exist_ok=True)
    gateway_key = known_hosts.splitlines()[0].split(" ", 1)[1]
    ours.write_text(f"{known_hosts}[127.0.0.1]:{proxy.port} {gateway_key}\n")
    file = tmp_path / "relay.yaml"
    file.write_text(
        json.dumps(
            {
                "gateway": f"127.0.0.1:{proxy.port}",
                "connect_kwargs": {"key_filename": str(user.sandbox / "client_key")},
                "notebook": {"host": "ashbury"},
            }
        )
    )
    return str(file)


def test_reconnect(browser: Browser, user: User, proxy: TcpProxy, settings: str) -> None:
    """After the connection was lost, the page reconnects by itself, and the next cell runs in the same kernel."""
    with browser.running():
        pass  # Firefox creates its store at its first start
    password = ("--password-file", "-")
    up = assert_success(
        user.fab("-f", settings, "up", "--detach", "--trust", *password, stdin=f"{PASSWORD}\n")
    )
    with browser.running() as page:
        page.open(f"https://localhost:{port_in(up)}/notebooks/plots.ipynb")
        log_in(page)
        page.wait_for(READY)
        before = run_cell(page, "import os; kept = 'kept'; print('first', kept, os.getpid())", "first kept")
        assert proxy.refuse() > 0
        wait_until(lambda: tunnel_is(user, "reconnecting"), "the tunnel is being reconnected")
        page.wait_for(f"!({READY})")
        browser.save_screenshot(page, "4-cut")
        proxy.resume()
        wait_until(lambda: tunnel_is(user, "open"), "the tunnel is open again")
        after = run_cell(page, "print('second', kept, os.getpid())", "second kept")
        assert after.split()[-1] == before.split()[-1]
    assert_success(user.fab("-f", settings, "stop", "--force"))


def tunnel_is(user: User, state: str) -> bool:
    """Whether the tunnel's record has this state; `status` itself would connect over the route that is cut."""
    return any(json.loads(path.read_text())["state"] == state for path in user.sessions.glob("*.tunnel.json"))
