"""The server's certificate: its contents, and whether browsers accept it."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.util.command_hint import command

if TYPE_CHECKING:
    from cryptography import x509

NAME = "localhost"
"""The host name of the tunnel's local end, which the certificate must be valid for."""
MIN_RSA_BITS = 2048
SIGNATURE_HASHES = ("sha256", "sha384", "sha512")
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h, for which ssl has no name


@dataclass(frozen=True)
class Certificate:
    """A server's certificate: PEM text, digests of its DER form, its dates and its names."""

    pem: str
    sha256: str
    sha1: str
    """Some trust stores use it as the key for a look-up; it proves nothing."""
    not_before: datetime
    expires: datetime
    names: tuple[str, ...]
    issuer: str
    """The authority that signed it; "" if it is self-signed."""

    @property
    def name(self) -> str:
        """The server name for TLS: NAME, unless the certificate is valid for other names only."""
        return NAME if NAME in self.names or not self.names else self.names[0]

    def expires_within(self, days: int) -> bool:
        """Whether it expires within so many days, or has expired."""
        return self.expires - datetime.now(UTC) < timedelta(days=days)

    def date_problem(self) -> str:
        """Why it is not valid now by this machine's clock, such as "expired on 2026-01-31"; "" if it is."""
        now = datetime.now(UTC)
        if now < self.not_before:
            return f"is not valid before {self.not_before:%Y-%m-%d}"
        return f"expired on {self.expires:%Y-%m-%d}" if now >= self.expires else ""


def parse(pem: str) -> Certificate:
    """Parse the first certificate of the PEM text. Raises RemoteError if there is none."""
    try:
        with malformed_is_value_error():
            return _certificate(_load(pem))
    except ValueError as error:
        raise RemoteError(
            f"the certificate on the host is unreadable: {error}",
            hint=f"{command('secure --renew')} creates a new one",
        ) from error


def client_context(certificate: Certificate) -> ssl.SSLContext:
    """A TLS context that accepts only a server that presents this certificate, whatever the time is.

    The certificate is the only trust anchor; X509_V_FLAG_PARTIAL_CHAIN allows a leaf as one. A server that presents it
    has its key. Its dates are checked elsewhere (clock.py), because a clock may be wrong.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    context.load_verify_locations(cadata=certificate.pem)
    return context


def find_problem(pem: str) -> str:
    """Why browsers reject the first certificate of the PEM text for NAME, or should; "" if nothing is wrong."""
    try:
        with malformed_is_value_error():
            return find_leaf_problem(_load(pem))
    except ValueError as error:
        return f"unreadable: {error}"


def find_leaf_problem(cert: x509.Certificate) -> str:
    """As `find_problem`. The rules are those of browsers for keys and hashes, and RFC 9525 for names."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    problem = weak_cryptography(cert)
    if problem:
        return problem
    if NAME not in _certificate(cert).names:
        return f"it is not valid for {NAME}"
    for extension in cert.extensions:
        match extension.value:
            case x509.ExtendedKeyUsage() as usage if ExtendedKeyUsageOID.SERVER_AUTH not in usage:
                return "it is not valid for a server"
            case x509.BasicConstraints(ca=True):
                return "it can sign other certificates"
    return ""


@contextmanager
def malformed_is_value_error() -> Iterator[None]:
    """Raise ValueError for every malformed certificate; cryptography has other exceptions for some."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        yield
    except (
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
        UnsupportedAlgorithm,
    ) as error:
        raise ValueError(str(error)) from error


def weak_cryptography(cert: x509.Certificate) -> str:
    """Why browsers reject the certificate's key or hash algorithm; "" if they accept both."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key, digest = cert.public_key(), cert.signature_hash_algorithm
    match key:
        case rsa.RSAPublicKey() if key.key_size < MIN_RSA_BITS:
            return f"its RSA key has only {key.key_size} bits"
        case rsa.RSAPublicKey() | ec.EllipticCurvePublicKey(curve=ec.SECP256R1() | ec.SECP384R1()):
            pass
        case _:
            return "browsers do not support its type of key"
    if digest is None or digest.name not in SIGNATURE_HASHES:
        return (
            f"it is signed with {digest.name.upper() if digest else 'no hash'}, which browsers do not accept"
        )
    return ""


def is_signed_by(cert: x509.Certificate, signer: x509.Certificate) -> bool:
    """Whether the certificate names the signer as its issuer, and the signer's key verifies its signature."""
    from cryptography.exceptions import InvalidSignature

    try:
        cert.verify_directly_issued_by(signer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _load(pem: str) -> x509.Certificate:
    from cryptography import x509

    return x509.load_pem_x509_certificate(pem.encode())


def _certificate(cert: x509.Certificate) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    der = cert.public_bytes(Encoding.DER)
    try:
        subject = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = (
            *subject.get_values_for_type(x509.DNSName),
            *(str(address) for address in subject.get_values_for_type(x509.IPAddress)),
        )
    except x509.ExtensionNotFound:
        names = ()
    return Certificate(
        pem=cert.public_bytes(Encoding.PEM).decode(),
        sha256=hashlib.sha256(der).hexdigest(),
        sha1=hashlib.sha1(der, usedforsecurity=False).hexdigest(),
        not_before=cert.not_valid_before_utc,
        expires=cert.not_valid_after_utc,
        names=names,
        issuer="" if cert.issuer == cert.subject else cert.issuer.rfc4514_string(),
    )
