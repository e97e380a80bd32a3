"""A tunnel's server is accepted by its certificate alone, and sent nothing before that."""

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Self

import pytest

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.jupyter import certificate as certificates
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.jupyter.verification import MAX_REPLY_BYTES, check_websocket, verify_server
from tests.kit.certificates import authority, certificate, names, new_key, pem, sha256
from tests.kit.sessions import make_session
from tests.kit.socket_peers import Peer, raw_peer, tls_peer
from tests.kit.sockets import read_all

KEY = new_key()
OWN = certificate(KEY)
SESSION = make_session(certificate_pem=OWN)
TIMEOUT_S = 10.0


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


GOOD = http(b'{"version": "2.1"}')


@contextmanager
def server(tmp_path: Path, reply: bytes = GOOD, own: str = OWN) -> Iterator[Peer]:
    """A server that presents a certificate of KEY."""
    with tls_peer(pem(KEY) + own, tmp_path, reply) as peer:
        yield peer


Check = Callable[[Session, Callable[[], socket.socket], float], object]


@pytest.mark.parametrize("days", [(-1, 90), (-90, -1), (10, 20)], ids=["valid", "expired", "not valid yet"])
def test_own_server(tmp_path: Path, days: tuple[int, int]) -> None:
    """The session's own server is accepted whatever the dates of its certificate, and asked for its version."""
    own = certificate(KEY, days=days)
    with server(tmp_path, own=own) as peer:
        verify_server(make_session(certificate_pem=own), peer.dial, TIMEOUT_S)
    (request,) = peer.requests
    assert request.startswith(b"GET /api HTTP/1.1\r\n")
    assert b"Host: localhost\r\n" in request and b"uthorization" not in request and b"ookie" not in request


def test_certificate_of_an_authority(tmp_path: Path) -> None:
    """A certificate that an authority signed is accepted without the authority's own."""
    own = certificate(KEY, issuer="the site", signer=new_key())
    with server(tmp_path, own=own) as peer:
        verify_server(make_session(certificate_pem=own), peer.dial, TIMEOUT_S)


def test_certificate_with_other_names(tmp_path: Path) -> None:
    """A certificate of the user's own is accepted by a name that it has."""
    own = certificate(KEY, names=names("ashbury.example.org"))
    with server(tmp_path, own=own) as peer:
        verify_server(make_session(certificate_pem=own), peer.dial, TIMEOUT_S)


@pytest.mark.parametrize("check", [verify_server, check_websocket])
def test_another_certificate(tmp_path: Path, check: Check) -> None:
    """A server with another certificate, for the same names, is refused and sent no request."""
    key = new_key()
    other = certificate(key)
    with tls_peer(pem(key) + other, tmp_path, GOOD) as peer, pytest.raises(RemoteError) as raised:
        check(SESSION, peer.dial, TIMEOUT_S)
    assert b"".join(peer.requests) == b""
    if check is verify_server:
        assert "is not your server" in str(raised.value) and sha256(other) in str(raised.value)
        assert "do not type your password" in raised.value.hint


def test_certificate_signed_by_the_own_one(tmp_path: Path) -> None:
    """If the session's certificate can sign others, a server with one that it signed is refused and sent no request."""
    own, key = authority(KEY), new_key()
    leaf = certificate(key, subject="localhost", issuer="a server", signer=KEY)
    with (
        tls_peer(pem(key) + leaf, tmp_path, GOOD) as peer,
        pytest.raises(RemoteError, match=f"is not your server: .*{sha256(leaf)}"),
    ):
        verify_server(make_session(certificate_pem=own), peer.dial, TIMEOUT_S)
    assert b"".join(peer.requests) == b""


def test_unusable_certificate(tmp_path: Path) -> None:
    """The session's own certificate, if TLS refuses it, is reported as such, with the hint to renew it."""
    own = certificate(KEY, names=None)
    with (
        server(tmp_path, own=own) as peer,
        pytest.raises(RemoteError, match="certificate of your server on ashbury cannot be used") as raised,
    ):
        verify_server(make_session(certificate_pem=own), peer.dial, TIMEOUT_S)
    assert "secure --renew --restart" in raised.value.hint


def test_own_server_after_another(tmp_path: Path) -> None:
    """If the other server is gone when its certificate is looked at, it is still refused as another."""
    key = new_key()
    with tls_peer(pem(key) + certificate(key), tmp_path, GOOD) as peer:

        def dial() -> socket.socket:
            if peer.connections:
                raise ConnectionRefusedError
            return peer.dial()

        with pytest.raises(RemoteError, match="it presented another certificate$"):
            verify_server(SESSION, dial, TIMEOUT_S)


def test_silence_after_another(tmp_path: Path) -> None:
    """A server that is silent when its certificate is looked at costs no more than the timeout."""
    key = new_key()
    with (
        tls_peer(pem(key) + certificate(key), tmp_path, GOOD) as peer,
        raw_peer(read_all) as silent,
        pytest.raises(RemoteError, match="it presented another certificate$"),
    ):
        verify_server(SESSION, lambda: silent.dial() if peer.connections else peer.dial(), 0.3)
    assert silent.completed == 1


@pytest.mark.parametrize("check", [verify_server, check_websocket])
@pytest.mark.parametrize("sent", [b"HTTP/1.1 200 OK\r\n\r\n{}", b"SSH-2.0-OpenSSH_9\r\n"])
def test_no_tls(sent: bytes, check: Check) -> None:
    """A server that does not speak TLS is refused with that reason."""

    def speak(there: socket.socket) -> None:
        there.sendall(sent)
        read_all(there)

    with raw_peer(speak) as peer, pytest.raises(RemoteError) as raised:
        check(SESSION, peer.dial, TIMEOUT_S)
    assert ("is not your server: it does not speak TLS" in str(raised.value)) == (check is verify_server)


@pytest.mark.parametrize(
    "serve",
    [lambda there: None, read_all, lambda there: there.sendall(b"\x15\x03\x03\x00\x02\x02\x28")],
    ids=["closes", "is silent", "TLS alert"],
)
@pytest.mark.parametrize("check", [verify_server, check_websocket])
def test_no_answer(
    serve: Callable[[socket.socket], None],
    check: Check,
) -> None:
    """A server that does not answer is reported as such, within the timeout."""
    with raw_peer(serve) as peer, pytest.raises(RemoteError) as raised:
        check(SESSION, peer.dial, 0.3)
    assert "is not your server" not in str(raised.value)
    assert peer.completed == peer.connections


def test_nothing_listens() -> None:
    """A closed port is reported as such, with the command that starts a server."""

    def dial() -> socket.socket:
        raise ConnectionRefusedError("refused")

    with pytest.raises(RemoteError, match="no Jupyter server answers on ashbury:8888: refused") as raised:
        verify_server(SESSION, dial, TIMEOUT_S)
    assert "serve" in raised.value.hint


@pytest.mark.parametrize(
    "reply",
    [
        http(b"[]"),
        http(b'"version"'),
        http(b"{}"),
        http(b"hello"),
        http(b"\xff"),
        http(b"[" * 60_000),
        http(b'{"version": "2", "x": ' + b"[" * 60_000),
        b"hello\r\n\r\n",
        b"",
        http(json.dumps({"version": "x" * MAX_REPLY_BYTES}).encode()),
    ],
    ids=[
        "list",
        "text",
        "no version",
        "no JSON",
        "no UTF-8",
        "deep",
        "deep below",
        "no HTTP",
        "nothing",
        "long",
    ],
)
def test_no_jupyter(tmp_path: Path, reply: bytes) -> None:
    """A server with the certificate that is not Jupyter, or sends more than its version, is reported as no answer."""
    with (
        server(tmp_path, reply) as peer,
        pytest.raises(RemoteError, match="no Jupyter server answers on ashbury:8888"),
    ):
        verify_server(SESSION, peer.dial, TIMEOUT_S)


@pytest.mark.parametrize("offset_s", [0, 3600, -3600])
def test_clock(tmp_path: Path, offset_s: int) -> None:
    """How far the host's clock is ahead comes from the Date of the reply."""
    date = f"Date: {formatdate(time.time() + offset_s, usegmt=True)}"
    with server(tmp_path, http(b'{"version": "2"}', "200 OK", date)) as peer:
        measured = verify_server(SESSION, peer.dial, TIMEOUT_S)
    assert measured is not None and abs(measured - offset_s) < 60


@pytest.mark.parametrize("date", ["", "Date: yesterday", "Date: Mon, 01 Jan 99999999999 00:00:00 GMT"])
def test_no_clock(tmp_path: Path, date: str) -> None:
    """A reply without a valid Date says nothing about the clock."""
    with server(tmp_path, http(b'{"version": "2"}', "200 OK", *[date][: len(date)])) as peer:
        assert verify_server(SESSION, peer.dial, TIMEOUT_S) is None


@pytest.mark.parametrize("status", ["101 Switching Protocols", "403 Forbidden", "404 Not Found"])
def test_websocket(tmp_path: Path, status: str) -> None:
    """A reply of Jupyter itself to a WebSocket request without a login is accepted."""
    with server(tmp_path, http(b"", status)) as peer:
        check_websocket(SESSION, peer.dial, TIMEOUT_S)
    (request,) = peer.requests
    for header in (
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: ",
    ):
        assert header in request


@pytest.mark.parametrize(
    "reply",
    [http(b"", "200 OK"), http(b"", "400 Bad Request"), http(b"", "502 Bad Gateway"), b"hello\r\n\r\n", b""],
)
def test_websocket_of_a_proxy(tmp_path: Path, reply: bytes) -> None:
    """A reply that only a proxy in between would send is refused, with a hint."""
    with server(tmp_path, reply) as peer, pytest.raises(RemoteError, match="WebSocket request") as raised:
        check_websocket(SESSION, peer.dial, TIMEOUT_S)
    assert "logs" in raised.value.hint


def test_old_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS before 1.2 is never spoken, though some systems' Pythons would (Debian's, for one)."""

    class LenientContext(ssl.SSLContext):
        def __new__(cls, protocol: int) -> Self:
            context = super().__new__(cls, protocol)
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            return context

    lenient = SimpleNamespace(**vars(ssl) | {"SSLContext": LenientContext})
    monkeypatch.setattr(certificates, "ssl", lenient)
    context = certificates.client_context(certificates.parse(OWN))
    assert isinstance(context, LenientContext)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
