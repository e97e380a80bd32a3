"""Seals the server's login cookie, so that it is of use only at this port, and only while this tunnel is open.

A browser sends a cookie to every port of 127.0.0.1, whoever listens there, and Jupyter accepts a login cookie for
weeks. Only cookies with HttpOnly are sealed: pages read the others, such as that with the XSRF token. None keeps the
attribute Secure, with which some clients would not send it without TLS.
"""

from cryptography.fernet import Fernet, InvalidToken


class CookieSeal:
    """Encrypts cookies for the browser with a key that only this process has."""

    def __init__(self) -> None:
        self._fernet = Fernet(Fernet.generate_key())

    def seal(self, set_cookie: bytes) -> bytes:
        """The value of a Set-Cookie header (RFC 6265, section 4.1.1) for the browser."""
        pair, *attributes = set_cookie.split(b";")
        attributes = [attribute for attribute in attributes if attribute.strip().lower() != b"secure"]
        name, separator, value = pair.strip().partition(b"=")
        if value and b"httponly" in (attribute.strip().lower() for attribute in attributes):
            pair = name + separator + self._fernet.encrypt(pair.strip())
        return b";".join([pair, *attributes])

    def open(self, cookies: bytes) -> bytes:
        """The value of a Cookie header (section 4.2.1), with the cookies that this process has sealed opened."""
        return b"; ".join(self._open(pair.strip()) for pair in cookies.split(b";"))

    def _open(self, pair: bytes) -> bytes:
        name, separator, value = pair.partition(b"=")
        try:
            cookie = self._fernet.decrypt(value)
        except InvalidToken:
            return pair
        return cookie if cookie.startswith(name + separator) else pair
