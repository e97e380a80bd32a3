"""A look at what listens on a port of loopback: `python -m tests.kit.https_probe PORT`, also in another namespace."""

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
    """The fingerprint (SHA-256) of the certificate, and what /api answers."""

    certificate_sha256: str
    answer: dict[str, Any]


def probe(user: User, port: int) -> ProbeResult:
    """What the user sees on a port of their own machine."""
    done = assert_success(user.execute([sys.executable, "-m", __name__, str(port)]))
    fingerprint, _, answer = done.stdout.partition(" ")
    return ProbeResult(fingerprint, json.loads(answer))


def main() -> None:
    """Print what is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # its fingerprint is compared
    connection = http.client.HTTPSConnection(LOOPBACK, int(sys.argv[1]), timeout=TIMEOUT_S, context=context)
    connection.connect()
    fingerprint = hashlib.sha256(connection.sock.getpeercert(True) or b"").hexdigest()
    connection.request("GET", "/api")
    print(fingerprint, connection.getresponse().read().decode())


if __name__ == "__main__":
    main()
