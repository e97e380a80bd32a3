"""The seal of the server's login cookie."""

import pytest

from notebooks_over_ssh.tunnel.plain.cookies import CookieSeal

LOGIN = b'username-127-0-0-1-8890="2|1:0|10:1|a:b|c"; expires=Wed, 30 Dec 2026 00:00:00 GMT; HttpOnly; Path=/; Secure'


def test_sealed_and_opened() -> None:
    """The browser gets the login cookie with another value, and the server gets its own back."""
    seal = CookieSeal()
    sealed = seal.seal(LOGIN)
    pair, _, attributes = sealed.partition(b";")
    name, _, value = LOGIN.partition(b";")[0].partition(b"=")
    assert pair.startswith(name + b"=") and value not in sealed
    assert attributes == LOGIN.partition(b";")[2].removesuffix(b"; Secure")
    assert (
        seal.open(b"_xsrf=2|a; " + pair + b";other=1") == b"_xsrf=2|a; " + name + b"=" + value + b"; other=1"
    )


@pytest.mark.parametrize(
    "cookie", [b"_xsrf=2|a|b; Path=/", b"username=; HttpOnly; Path=/", b"HttpOnly; Path=/", b""]
)
def test_left_alone(cookie: bytes) -> None:
    """A cookie that pages read, an empty one and what is no cookie stay as they are."""
    assert CookieSeal().seal(cookie) == cookie


def test_not_secure() -> None:
    """No cookie keeps Secure, which some clients take for a reason not to send it to this port."""
    assert CookieSeal().seal(b"a=b; secure; Path=/") == b"a=b; Path=/"


def test_not_opened() -> None:
    """The server does not get the login of a cookie that another tunnel has sealed, or that has another name."""
    seal = CookieSeal()
    sealed = seal.seal(LOGIN).partition(b";")[0]
    assert CookieSeal().open(sealed) == sealed
    renamed = b"username-localhost-8888" + sealed[sealed.index(b"=") :]
    assert seal.open(renamed) == renamed
    assert seal.open(sealed[:-4] + b"AAA=") == sealed[:-4] + b"AAA="
