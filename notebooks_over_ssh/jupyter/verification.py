"""Verifies that the server at the other end of the tunnel is the session's."""

import base64
import email.utils
import hashlib
import http.client
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import msgspec

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.jupyter import certificate
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.util.command_hint import command

VERIFY_TIMEOUT_S = 30
MAX_REPLY_BYTES = 65536
# OpenSSL's reasons for data that is not TLS.
NOT_TLS_REASONS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")


Dial = Callable[[], socket.socket]
"""Opens a connection to the server to be verified."""


class ApiReply(msgspec.Struct):
    """The reply of Jupyter's /api, which needs no login."""

    version: str


def verify_server(session: Session, dial: Dial, timeout_s: float) -> float | None:
    """Verify that the session's server answers, over TLS.

    Only the session's certificate, which came over SSH, is accepted; nothing is sent to a server that presents another.
    Its dates are not checked. Returns how many seconds the host's clock is ahead of this machine's, or None if the
    reply has no date. Raises RemoteError.
    """
    with _verified_connection(session, dial, timeout_s) as connection:
        connection.request("GET", "/api", headers={"Host": "localhost"})
        response = connection.getresponse()
        clock_offset_s = _clock_offset_s(response.headers.get("Date", ""))
        msgspec.json.decode(response.read(MAX_REPLY_BYTES), type=ApiReply)
        return clock_offset_s


def check_certificate(session: Session, dial: Dial, timeout_s: float) -> None:
    """As `verify_server`, but send no request: enough for a server that answered a program on the host just now.

    With TLS 1.3 it takes one round trip less (RFC 8446, section 2).
    """
    with _verified_connection(session, dial, timeout_s):
        pass


@contextmanager
def _verified_connection(
    session: Session, dial: Dial, timeout_s: float
) -> Iterator["_PinnedHTTPSConnection"]:
    """A connection to a server that has presented the session's certificate.

    Raises RemoteError, also for an error in the body.
    """
    expected = certificate.parse(session.certificate_pem)
    context = certificate.client_context(expected)
    with closing(_PinnedHTTPSConnection(dial, expected, context, timeout_s)) as connection:
        try:
            connection.connect()
            presented = hashlib.sha256(connection.sock.getpeercert(binary_form=True) or b"").hexdigest()
            if presented != expected.sha256:
                raise _wrong_server(session, f"it presented another certificate, SHA-256 {presented}")
            yield connection
        except ssl.SSLCertVerificationError as error:
            presented = _presented_fingerprint(dial, timeout_s)
            if presented == expected.sha256:
                raise RemoteError(
                    f"the certificate of your server on {session.host} cannot be used: {error.verify_message}",
                    hint=f"{command('secure --renew --restart')} creates a new one",
                ) from error
            detail = f", SHA-256 {presented}" if presented else ""
            raise _wrong_server(session, f"it presented another certificate{detail}") from error
        except (OSError, ValueError, http.client.HTTPException, RecursionError) as error:
            if isinstance(error, ssl.SSLError) and error.reason in NOT_TLS_REASONS:
                raise _wrong_server(session, "it does not speak TLS") from error
            raise RemoteError(
                f"no Jupyter server answers on {session.host}:{session.remote_port}: {error}",
                hint=f"{command('serve')} starts the server if it is not running",
            ) from error


def check_websocket(session: Session, dial: Dial, timeout_s: float) -> None:
    """Request a WebSocket (RFC 6455, section 4.1) without a login, which the server itself must refuse.

    Call `verify_server` first. Raises RemoteError if there is no reply, or one that a proxy on the route would send.
    """
    expected = certificate.parse(session.certificate_pem)
    context = certificate.client_context(expected)
    with closing(_PinnedHTTPSConnection(dial, expected, context, timeout_s)) as connection:
        try:
            connection.connect()
            connection.request(
                "GET",
                "/api/kernels/00000000-0000-0000-0000-000000000000/channels",
                headers={
                    "Host": "localhost",
                    "Origin": "https://localhost",
                    "Connection": "Upgrade",
                    "Upgrade": "websocket",
                    "Sec-WebSocket-Version": "13",
                    "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
                },
            )
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise RemoteError(
                f"no reply to a WebSocket request: {error}", hint=f"see {command('logs')}"
            ) from error
        if status not in (101, 403, 404):
            raise RemoteError(f"a WebSocket request got status {status}", hint=f"see {command('logs')}")


class _PinnedHTTPSConnection(http.client.HTTPSConnection):
    """HTTPS over a connection that `dial` opens, with the pinned certificate as the only trust anchor."""

    def __init__(
        self,
        dial: Dial,
        expected: certificate.Certificate,
        context: ssl.SSLContext,
        timeout_s: float,
    ) -> None:
        # The name comes from the certificate, because a user's own one may be valid for other names than localhost.
        super().__init__(expected.name, context=context)
        self._dial = dial
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = self._dial()
        self.sock.settimeout(self._timeout_s)
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)  # type: ignore[attr-defined]


def _presented_fingerprint(dial: Dial, timeout_s: float) -> str:
    """The SHA-256 of the certificate that the server presents; "" without one. Sends only a TLS handshake."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with dial() as sock:
            sock.settimeout(timeout_s)
            with context.wrap_socket(sock) as presented:
                return hashlib.sha256(presented.getpeercert(binary_form=True) or b"").hexdigest()
    except OSError:
        return ""


def _clock_offset_s(date: str) -> float | None:
    """How many seconds a Date header (RFC 9110, section 6.6.1) is ahead of this machine's clock."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError, OSError):
        return None


def _wrong_server(session: Session, detail: str) -> RemoteError:
    return RemoteError(
        f"the server on {session.host}:{session.remote_port} is not your server: {detail}",
        hint=f"do not type your password there; {command('stop')}, then {command('serve')} uses another port",
    )
