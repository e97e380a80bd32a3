"""Exchanges the plain port's own token and cookies for the server's, and back.

The server's token stays in this process: a request that carries the plain port's token gets the server's instead, and a
page that contains the server's (Jupyter writes it into its pages) gets the plain port's. A request without the plain
port's token is not authenticated here, because Jupyter checks neither the origin nor the XSRF token of a request with
its own token.
"""

import hmac
import re
import secrets
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from notebooks_over_ssh.tunnel.plain.cookies import CookieSeal

TOKEN_BYTES = 24
"""As many as the server's token has. Both have the same length in hex, so a page keeps its Content-Length."""
TOKEN_PATTERN = rf"[0-9a-f]{{{2 * TOKEN_BYTES}}}"

Headers = list[tuple[bytes, bytes]]

# As Jupyter's IdentityProvider.auth_header_pat.
_AUTHORIZATION = re.compile(rb"(?:token|bearer)\s+(.+)", re.IGNORECASE)


def new_token() -> str:
    """A new token for a plain port."""
    return secrets.token_hex(TOKEN_BYTES)


class CredentialExchange:
    """Exchanges tokens and cookies in the messages of one server connection, whose requests follow one another."""

    def __init__(self, plain_token: str, server_token: str, cookies: CookieSeal) -> None:
        self._plain = plain_token.encode()
        self._server = server_token.encode()
        self._cookies = cookies
        self._is_in_query = False

    def request(self, target: bytes, headers: Headers) -> tuple[bytes, Headers]:
        """The target and headers of the next request to the server. The plain port's token is in neither.

        It may be the parameter `token` of the target, or follow `token` or `Bearer` in Authorization. The server's is
        always in Authorization, so that no log has it.
        """
        path, mark, query = target.partition(b"?")
        parameters = query.split(b"&")
        self._is_in_query = self._is_plain(_value(part) for part in parameters if _is_token(part))
        matches = [
            _AUTHORIZATION.fullmatch(value) for name, value in headers if name.lower() == b"authorization"
        ]
        is_authenticated = self._is_in_query or self._is_plain(match[1] for match in matches if match)
        headers = [(name, self._request_header(name.lower(), value)) for name, value in headers]
        if is_authenticated:
            others = [part for part in parameters if not _is_token(part)]
            target = path + mark + b"&".join(others) if others else path
            headers = [(name, value) for name, value in headers if name.lower() != b"authorization"]
            headers.append((b"Authorization", b"token " + self._server))
        return self._remove_plain(target), headers

    def response(self, headers: Headers) -> Headers:
        """The headers of the response for the client. The server's token is in none.

        Jupyter redirects / with all parameters, before it looks at the token: a redirect has the token again.
        """
        return [
            (name, self._response_header(name.lower(), value.replace(self._server, self._plain)))
            for name, value in headers
        ]

    def page(self) -> "PageTokens":
        """Exchanges the token in the body of one page."""
        return PageTokens(self._server, self._plain)

    def _is_plain(self, tokens: Iterable[bytes]) -> bool:
        return any(hmac.compare_digest(token, self._plain) for token in tokens)

    def _request_header(self, name: bytes, value: bytes) -> bytes:
        # The address of a page, in Referer for example, may have the token.
        value = self._remove_plain(value)
        return self._cookies.open(value) if name == b"cookie" else value

    def _response_header(self, name: bytes, value: bytes) -> bytes:
        if name == b"set-cookie":
            return self._cookies.seal(value)
        return self._add_plain(value) if name == b"location" and self._is_in_query else value

    def _add_plain(self, location: bytes) -> bytes:
        """The location with the token, if it is on this server."""
        if not location.startswith(b"/") or location.startswith(b"//"):
            return location
        location, mark, fragment = location.partition(b"#")
        path, _, query = location.partition(b"?")
        parameters = [part for part in query.split(b"&") if part and not _is_token(part)]
        return path + b"?" + b"&".join([*parameters, b"token=" + self._plain]) + mark + fragment

    def _remove_plain(self, value: bytes) -> bytes:
        return value.replace(self._plain, b"")


class PageTokens:
    """Replaces a token by another of the same length in a body that comes in pieces."""

    def __init__(self, old: bytes, new: bytes) -> None:
        self._old = old
        self._new = new
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """The data so far, without an end that may be the beginning of the token."""
        data = (self._rest + data).replace(self._old, self._new)
        withheld_bytes = next(
            (length for length in range(len(self._old) - 1, 0, -1) if data.endswith(self._old[:length])), 0
        )
        self._rest = data[len(data) - withheld_bytes :]
        return data[: len(data) - withheld_bytes]

    def end(self) -> bytes:
        """The rest of the body."""
        return self._rest


def _is_token(parameter: bytes) -> bool:
    return _decode(parameter.partition(b"=")[0]) == b"token"


def _value(parameter: bytes) -> bytes:
    return _decode(parameter.partition(b"=")[2])


def _decode(text: bytes) -> bytes:
    """Decode application/x-www-form-urlencoded, as Tornado does for a query."""
    return unquote_to_bytes(text.replace(b"+", b" "))
