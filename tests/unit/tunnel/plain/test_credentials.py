"""The exchange of the plain port's credentials for the server's."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notebooks_over_ssh.tunnel.plain.cookies import CookieSeal
from notebooks_over_ssh.tunnel.plain.credentials import CredentialExchange, new_token
from tests.kit.http_server import PLAIN_TOKEN, SERVER_TOKEN

PLAIN, SERVER = PLAIN_TOKEN.encode(), SERVER_TOKEN.encode()
AUTHENTICATED = [(b"Authorization", b"token " + SERVER)]


@pytest.fixture
def exchange() -> CredentialExchange:
    """The exchange of one server connection."""
    return CredentialExchange(PLAIN_TOKEN, SERVER_TOKEN, CookieSeal())


def test_new_tokens_differ() -> None:
    """Each token is new, and has the length of the server's, 48 hexadecimal digits."""
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert {len(token) for token in tokens} == {len(SERVER_TOKEN)}
    assert all(int(token, 16) for token in tokens)


@pytest.mark.parametrize(
    ("target", "remaining"),
    [
        (b"/api?token=%s", b"/api"),
        (b"/?token=%s&a=1", b"/?a=1"),
        (b"/?a=1&token=%s&b=%%2F", b"/?a=1&b=%2F"),
        (b"/?%%74oken=%s", b"/"),
        (b"/?token=wrong&token=%s", b"/"),
        (b"/?token=%s&next=/tree?token=%s", b"/?next=/tree?token="),
    ],
)
def test_token_in_query(exchange: CredentialExchange, target: bytes, remaining: bytes) -> None:
    """The token as a parameter becomes the server's in Authorization, and the other parameters stay as they were."""
    target = target % ((PLAIN,) * target.count(b"%s"))
    assert exchange.request(target, []) == (remaining, AUTHENTICATED)


@pytest.mark.parametrize("scheme", [b"token ", b"Bearer ", b"bearer   ", b"TOKEN "])
def test_token_in_header(exchange: CredentialExchange, scheme: bytes) -> None:
    """The token in Authorization becomes the server's; the other headers stay as they were."""
    headers = [(b"Host", b"h"), (b"authorization", scheme + PLAIN), (b"Accept", b"*/*")]
    assert exchange.request(b"/api?a=b", headers) == (
        b"/api?a=b",
        [(b"Host", b"h"), (b"Accept", b"*/*"), *AUTHENTICATED],
    )


@pytest.mark.parametrize(
    ("target", "authorization"),
    [
        (b"/", b""),
        (b"/?token=", b""),
        (b"/?token=" + PLAIN[:-1], b""),
        (b"/?token=" + PLAIN + b"0", b""),
        (b"/?token=" + PLAIN.upper(), b""),
        (b"/?tokens=x", b"token " + PLAIN[:-1]),
        (b"/", b"Basic " + PLAIN[:-1]),
        (b"/#token", b"token"),
    ],
)
def test_without_the_token(exchange: CredentialExchange, target: bytes, authorization: bytes) -> None:
    """A request without the plain port's own token never gets the server's."""
    headers = [(b"Authorization", authorization)] if authorization else []
    relayed_target, relayed_headers = exchange.request(target, headers)
    assert SERVER not in relayed_target + b"".join(value for _, value in relayed_headers)
    assert relayed_headers == [(name, value.replace(PLAIN, b"")) for name, value in headers]


def test_plain_token_stays_here(exchange: CredentialExchange) -> None:
    """The plain port's token is in no header of the server's request, such as the Referer of a page."""
    headers = [(b"Referer", b"http://127.0.0.1:8890/tree?token=" + PLAIN), (b"Cookie", b"a=" + PLAIN)]
    for target in (b"/static/x.js", b"/api?token=" + PLAIN):
        relayed_target, relayed = exchange.request(target, headers)
        assert PLAIN not in relayed_target + b"".join(value for _, value in relayed)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (b"/tree?", b"/tree?token=" + PLAIN),
        (b"/tree", b"/tree?token=" + PLAIN),
        (b"/tree?a=1#x", b"/tree?a=1&token=" + PLAIN + b"#x"),
        (b"/tree?token=" + SERVER, b"/tree?token=" + PLAIN),
        (b"//elsewhere.example/", b"//elsewhere.example/"),
        (b"https://elsewhere.example/", b"https://elsewhere.example/"),
    ],
)
def test_redirect(exchange: CredentialExchange, location: bytes, expected: bytes) -> None:
    """A redirect within the server keeps the token of the address, which Jupyter needs at the next page."""
    exchange.request(b"/?token=" + PLAIN, [])
    assert exchange.response([(b"Location", location)]) == [(b"Location", expected)]


def test_redirect_without_token(exchange: CredentialExchange) -> None:
    """A redirect adds no token to the address of a request that had none there."""
    exchange.request(b"/?token=" + PLAIN, [])
    for headers in ([], [(b"Authorization", b"token " + PLAIN)]):
        exchange.request(b"/", headers)
        assert exchange.response([(b"Location", b"/login")]) == [(b"Location", b"/login")]


@given(st.lists(st.sampled_from([b"x", SERVER, SERVER[:10], SERVER[5:], b"5", b"\xff" * 50])), st.data())
def test_page(parts: list[bytes], data: st.DataObject) -> None:
    """However a page is split, each occurrence of the server's token becomes the plain port's, and its length stays."""
    body = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)))))
    page = CredentialExchange(PLAIN_TOKEN, SERVER_TOKEN, CookieSeal()).page()
    relayed = b"".join(page.feed(body[a:b]) for a, b in pairwise([0, *cuts, len(body)])) + page.end()
    assert relayed == body.replace(SERVER, PLAIN)
    assert len(relayed) == len(body)
