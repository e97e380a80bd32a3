"""The way is lost while a notebook is open: the page finds its server again by itself, with the same kernel."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.kit.bidi import ENTER, SHIFT, Page
from tests.kit.browsers import READY, Browser, log_in
from tests.kit.cli import User, assert_success, port_in
from tests.kit.mitm_sshd import AsyncioThread
from tests.kit.tcp_proxy import TcpProxy
from tests.kit.users import PASSWORD, new_user
from tests.kit.wait import wait_until


@pytest.fixture
def relay(user: User) -> Iterator[TcpProxy]:
    """A piece of the way before the gateway of the sandbox."""
    network = json.loads((user.sandbox / "network.json").read_text())["network"]
    with closing(AsyncioThread()) as loop, closing(TcpProxy(loop, network["gateway_port"])) as relay:
        yield relay


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[User]:
    """A user whose sandbox runs."""
    with new_user(tmp_path_factory, temporary) as user:
        assert_success(user.fab("sandbox.start"))
        yield user


@pytest.fixture
def settings(user: User, relay: TcpProxy, tmp_path: Path) -> str:
    """A file of settings by which the gateway is reached over the relay, as any gateway is."""
    known_hosts = (user.sandbox / "known_hosts").read_text()
    ours = user.home / ".ssh/known_hosts"
    ours.parent.mkdir(mode=0o700, exist_ok=True)
    gateway_key = known_hosts.splitlines()[0].split(" ", 1)[1]
    ours.write_text(f"{known_hosts}[127.0.0.1]:{relay.port} {gateway_key}\n")
    file = tmp_path / "relay.yaml"
    file.write_text(
        json.dumps(
            {
                "gateway": f"127.0.0.1:{relay.port}",
                "connect_kwargs": {"key_filename": str(user.sandbox / "client_key")},
                "notebook": {"host": "ashbury"},
            }
        )
    )
    return str(file)


def test_tunnel_is_cut_and_comes_back(browser: Browser, user: User, relay: TcpProxy, settings: str) -> None:
    """The connection is cut and comes back: the page reconnects by itself, and the next cell runs in the same kernel."""
    with browser.running():
        pass  # Firefox makes its store when it runs first
    password = ("--password-file", "-")
    up = assert_success(
        user.fab("-f", settings, "up", "--detach", "--trust", *password, stdin=f"{PASSWORD}\n")
    )
    with browser.running() as page:
        page.open(f"https://localhost:{port_in(up)}/notebooks/plots.ipynb")
        log_in(page)
        page.wait_for(READY)
        before = run(page, "import os; kept = 'kept'; print('first', kept, os.getpid())", "first kept")
        assert relay.refuse() > 0
        wait_until(lambda: wait_for_tunnel(user, "reconnecting"), "the tunnel is being reconnected")
        page.wait_for(f"!({READY})")
        browser.save_screenshot(page, "4-cut")
        relay.resume()
        wait_until(lambda: wait_for_tunnel(user, "open"), "the tunnel is open again")
        after = run(page, "print('second', kept, os.getpid())", "second kept")
        assert after.split()[-1] == before.split()[-1]
    assert_success(user.fab("-f", settings, "stop", "--force"))


def run(page: Page, code: str, answer: str) -> str:
    """Type a cell below the first and run it; returns what it printed, which begins with the answer."""
    page.click(".jp-MarkdownCell")
    page.click("[data-jp-item-name=insert] .jp-ToolbarButtonComponent")
    page.wait_for("!!document.querySelector('.jp-CodeCell.jp-mod-active')")
    page.click(".jp-CodeCell.jp-mod-active .cm-content")
    page.wait_for("!!document.activeElement.closest('.jp-CodeCell.jp-mod-active .cm-content')")
    page.type(code)
    page.press(SHIFT, ENTER)
    outputs = "[...document.querySelectorAll('.jp-OutputArea-output')].map(output => output.innerText.trim())"
    return str(page.wait_for(f"{outputs}.find(text => text.startsWith({answer!r}))"))


def wait_for_tunnel(user: User, state: str) -> bool:
    """What `status` would say, from the record itself: nothing is asked over the way that is cut."""
    return any(json.loads(path.read_text())["state"] == state for path in user.sessions.glob("*.tunnel.json"))
