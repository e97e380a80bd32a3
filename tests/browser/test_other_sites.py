"""No certificate of a host lets a browser believe that the host is some other web site."""

import pytest

from tests.browser.bidi import BANK, Refused
from tests.browser.conftest import Browser
from tests.journey.program import User, port_in, succeeded
from tests.trust.certificates import certificate, names, new_key, pem


def test_bank(browser: Browser, user: User) -> None:
    """A leaf on the host for localhost and a bank is not trusted by `up --trust`: the browser opens neither with it."""
    with browser.started():
        pass  # Firefox makes its store when it runs first
    succeeded(user.fab("stop", "--all"))
    key = new_key()
    leaf = certificate(key, names=names("localhost", BANK, "*.example.org"))
    (user.jupyter_config.parent / "notebooks-over-ssh/server.pem").write_text(pem(key) + leaf)
    done = succeeded(user.fab("up", "--detach", "--trust"))
    assert user.certificate_pem(user.only_session()["host"]) == leaf
    assert f"it is for {BANK}, *.example.org" in done.stderr
    assert not list(user.sessions.parent.rglob("*.pem"))
    with browser.started() as page:
        for host in (BANK, "localhost"):
            with pytest.raises(Refused, match=browser.kind.unknown):
                page.open(f"https://{host}:{port_in(done)}/login")
