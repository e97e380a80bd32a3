"""No certificate of a host lets a browser accept that host as another web site."""

import pytest

from tests.kit.bidi import BANK, NavigationRefused
from tests.kit.browsers import Browser
from tests.kit.certificates import certificate, names, new_key, pem
from tests.kit.cli import User, assert_success, port_in


def test_certificate_for_another_site(browser: Browser, user: User) -> None:
    """`up --trust` does not add a certificate for localhost and a bank: the browser opens neither with it."""
    with browser.running():
        pass  # Firefox creates its store at its first start
    assert_success(user.fab("stop", "--all"))
    key = new_key()
    leaf = certificate(key, names=names("localhost", BANK, "*.example.org"))
    (user.jupyter_config.parent / "notebooks-over-ssh/server.pem").write_text(pem(key) + leaf)
    result = assert_success(user.fab("up", "--detach", "--trust"))
    assert user.only_record()["certificate_pem"] == leaf
    assert f"it is for {BANK}, *.example.org" in result.stderr
    assert not list(user.sessions.parent.rglob("*.pem"))
    with browser.running() as page:
        for host in (BANK, "localhost"):
            with pytest.raises(NavigationRefused, match=browser.kind.unknown):
                page.open(f"https://{host}:{port_in(result)}/login")
