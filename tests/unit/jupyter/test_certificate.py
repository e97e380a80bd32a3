"""Which certificates browsers would refuse, and whether a certificate is valid at this time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.jupyter import certificate as certificates
from tests.kit.certificates import SigningKey, certificate, malformed, names, new_key, patched, self_signed

# pkcs-1 of RFC 8017, appendix A.2.4; the last byte says which hash.
PKCS1 = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01"
SHA256 = PKCS1 + b"\x0b"


@pytest.fixture(scope="module")
def rsa_pem() -> str:
    """A certificate of an RSA key of 2048 bits, over SHA-256."""
    return certificate(rsa.generate_private_key(65537, 2048))


@pytest.mark.parametrize(
    ("last", "name"), [(4, "MD5"), (5, "SHA1"), (14, "SHA224"), (11, None), (12, None), (13, None)]
)
def test_hashes(rsa_pem: str, last: int, name: str | None) -> None:
    """Only a signature over SHA-256, SHA-384 or SHA-512 is accepted."""
    problem = certificates.find_problem(patched(rsa_pem, SHA256, PKCS1 + bytes([last])))
    assert problem == (f"it is signed with {name}, which browsers do not accept" if name else "")


def test_signature_without_a_hash() -> None:
    """A certificate that an Ed25519 key signed is refused, whatever its own key is."""
    pem = certificate(new_key(), issuer="the site", signer=ed25519.Ed25519PrivateKey.generate())
    assert "browsers do not accept" in certificates.find_problem(pem)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), "only 1024 bits"),
        (lambda: ec.generate_private_key(ec.SECP521R1()), "do not support"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "do not support"),
        (lambda: ed25519.Ed25519PrivateKey.generate(), "do not support"),
        (lambda: ec.generate_private_key(ec.SECP384R1()), ""),
        (lambda: ec.generate_private_key(ec.SECP256R1()), ""),
    ],
)  # fmt: skip
def test_keys(make: Callable[[], SigningKey], expected: str) -> None:
    """RSA from 2048 bits on, P-256 and P-384 are accepted, and no other key."""
    problem = certificates.find_problem(certificate(make()))
    assert expected in problem and bool(problem) == bool(expected)


@pytest.mark.parametrize(("kind", "pem"), malformed(self_signed()).items())
def test_malformed(kind: str, pem: str) -> None:
    """An unreadable certificate is an error with a hint, not a traceback."""
    assert certificates.find_problem(pem).startswith("unreadable: ")
    if kind in ("an unknown signature", "an unknown curve"):
        certificates.parse(pem)  # neither is needed for its names and dates
        return
    with pytest.raises(RemoteError, match="unreadable") as raised:
        certificates.parse(pem)
    assert "secure --renew" in raised.value.hint


@pytest.mark.parametrize(
    ("days", "expected"), [((-2, 2), ""), ((-4, -2), "expired on "), ((2, 4), "is not valid before ")]
)
def test_dates(days: tuple[int, int], expected: str) -> None:
    """It says since when a certificate is no longer valid, or from when on it will be."""
    problem = certificates.parse(certificate(new_key(), days=days)).date_problem()
    date = f"{datetime.now(UTC) + timedelta(days=2 if days[0] > 0 else -2):%Y-%m-%d}"
    assert problem == (f"{expected}{date}" if expected else "")


def test_end() -> None:
    """A certificate expires within a number of days if its last day comes before, or has passed."""
    for last, expected in ((31, False), (29, True), (-1, True)):
        parsed = certificates.parse(certificate(new_key(), days=(-40, last)))
        assert parsed.expires_within(30) == expected


def test_server_name() -> None:
    """TLS asks for localhost, except from a certificate that is for other names only."""
    for alternatives, expected in (
        (names("localhost"), "localhost"),
        (names("ashbury.example.org", "localhost"), "localhost"),
        (names("ashbury.example.org"), "ashbury.example.org"),
        (None, "localhost"),
    ):
        assert certificates.parse(certificate(new_key(), names=alternatives)).name == expected
