"""The proof that what answers at the other end of the tunnel is the session's own server."""

import base64
import hashlib
import http.client
import json
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import closing

from fabfile.errors import RemoteFailed
from fabfile.notebooks import certificate
from fabfile.notebooks.session import Session

PROOF_TIMEOUT_S = 30
LARGEST_ANSWER = 65536
# How OpenSSL says that what it reads is no record of TLS.
NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")


Dial = Callable[[], socket.socket]
"""Makes a connection to what has to prove itself."""


def prove(session: Session, dial: Dial, timeout_s: float) -> None:
    """Ask what is reached through the tunnel, over TLS, who it is.

    The session's certificate came over SSH; no other is accepted, and nothing is said to who shows another.
    Raises RemoteFailed.
    """
    expected = certificate.parse(session.certificate_pem)
    context = certificate.client_context(expected)
    with closing(_Pinned(dial, expected, context, timeout_s)) as connection:
        try:
            connection.connect()
            shown = hashlib.sha256(connection.sock.getpeercert(binary_form=True) or b"").hexdigest()
            if shown != expected.sha256:
                raise _another(session, f"it showed another certificate, of SHA-256 {shown}")
            connection.request("GET", "/api", headers={"Host": "localhost"})
            answer = json.loads(connection.getresponse().read(LARGEST_ANSWER))
            if not isinstance(answer, dict) or "version" not in answer:
                raise ValueError(f"/api answered {answer!r}")
        except ssl.SSLCertVerificationError as error:
            raise _another(session, _what_it_shows(dial, timeout_s)) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            if isinstance(error, ssl.SSLError) and error.reason in NO_TLS:
                raise _another(session, "it speaks no TLS") from error
            raise RemoteFailed(
                f"nothing that is Jupyter answers on port {session.remote_port} of {session.host}: {error}",
                hint="serve finds out whether the server still runs, and starts it if not",
            ) from error


def prove_websocket(session: Session, dial: Dial, timeout_s: float) -> None:
    """Ask for a websocket (RFC 6455, section 4.1) as somebody who has not logged in: the server itself must refuse.

    Call `prove` first. Raises RemoteFailed where something on the way answers in its place, or nothing does.
    """
    expected = certificate.parse(session.certificate_pem)
    context = certificate.client_context(expected)
    with closing(_Pinned(dial, expected, context, timeout_s)) as connection:
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
            raise RemoteFailed(f"a websocket gets no answer: {error}", hint="see what logs says") from error
        if status not in (101, 403, 404):
            raise RemoteFailed(f"a websocket is answered with {status}", hint="see what logs says")


class _Pinned(http.client.HTTPSConnection):
    """Speaks over a connection that is dialled its own way."""

    def __init__(
        self,
        dial: Dial,
        expected: certificate.Certificate,
        context: ssl.SSLContext,
        timeout_s: float,
    ) -> None:
        # The name is read from the certificate, so a user's own one may be for another name than localhost.
        super().__init__(expected.name, context=context)
        self._dial = dial
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = self._dial()
        self.sock.settimeout(self._timeout_s)
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)  # type: ignore[attr-defined]


def _what_it_shows(dial: Dial, timeout_s: float) -> str:
    """The certificate of who is not the session's server; to see it, nothing but the beginning of TLS is said to them."""
    look = ssl.create_default_context()
    look.check_hostname = False
    look.verify_mode = ssl.CERT_NONE
    try:
        with dial() as reached:
            reached.settimeout(timeout_s)
            with look.wrap_socket(reached) as shown:
                sha256 = hashlib.sha256(shown.getpeercert(binary_form=True) or b"").hexdigest()
    except OSError:
        return "it showed another certificate"
    return f"it showed another certificate, of SHA-256 {sha256}"


def _another(session: Session, what: str) -> RemoteFailed:
    return RemoteFailed(
        f"what answers on port {session.remote_port} of {session.host} is not your server: {what}",
        hint="type no password there; stop and serve again, which takes another port",
    )
