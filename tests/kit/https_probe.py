"""Asks the server on a local port for its certificate and /api; `python -m tests.kit.https_probe PORT` in a
namespace.
"""

import hashlib
import http.client
import json
import ssl
import sys
from dataclasses import dataclass
from typing import Any

from tests.kit.cli import User, assert_success

LOOPBACK = "127.0.0.1"
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class ProbeResult:
    """The SHA-256 of the certificate, and the reply to GET /api."""

    certificate_sha256: str
    answer: dict[str, Any]


def probe(user: User, port: int) -> ProbeResult:
    """The reply on a port of the user's machine."""
    return ProbeResult(
        **json.loads(assert_success(user.execute([sys.executable, "-m", __name__, str(port)])).stdout)
    )


def get_api(port: int) -> tuple[str, Any]:
    """The SHA-256 of the certificate on a local port, and the reply to GET /api."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the fingerprint is compared
    connection = http.client.HTTPSConnection(LOOPBACK, port, timeout=TIMEOUT_S, context=context)
    try:
        connection.connect()
        fingerprint = hashlib.sha256(connection.sock.getpeercert(True) or b"").hexdigest()
        connection.request("GET", "/api")
        return fingerprint, json.loads(connection.getresponse().read())
    finally:
        connection.close()


if __name__ == "__main__":
    sha256, api = get_api(int(sys.argv[1]))
    print(json.dumps({"certificate_sha256": sha256, "answer": api}))
