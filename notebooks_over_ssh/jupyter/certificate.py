"""The certificate by which the browser knows the server: what it says, and whether it is good enough."""

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
"""Where the tunnel is opened, so what the certificate must be for."""
MIN_RSA_BITS = 2048
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h, for which ssl has no name


@dataclass(frozen=True)
class Certificate:
    """One server's certificate: PEM text, digests of its DER form, its dates, and the names that it is for."""

    pem: str
    sha256: str
    sha1: str
    """By which some stores look it up; it proves nothing."""
    not_before: datetime
    expires: datetime
    names: tuple[str, ...]
    issuer: str
    """The authority that signed it, "" where it signed itself."""

    @property
    def name(self) -> str:
        """The name to ask for it by: where the tunnel is opened, unless it is for others only."""
        return NAME if NAME in self.names or not self.names else self.names[0]

    def expires_within(self, days: int) -> bool:
        """Whether it ends, or has ended, within so many days from now."""
        return self.expires - datetime.now(UTC) < timedelta(days=days)

    def date_problem(self) -> str:
        """Why it is not in date by this machine's clock, such as "ended on 2026-01-31"; "" when it is."""
        now = datetime.now(UTC)
        if now < self.not_before:
            return f"begins on {self.not_before:%Y-%m-%d}"
        return f"ended on {self.expires:%Y-%m-%d}" if now >= self.expires else ""


def parse(pem: str) -> Certificate:
    """Read the first certificate of the PEM text. Raises RemoteError when there is none."""
    try:
        with malformed_is_value_error():
            return _certificate(_load(pem))
    except ValueError as error:
        raise RemoteError(
            f"the certificate on the host is unreadable: {error}",
            hint=f"{command('secure --renew')} makes a new one",
        ) from error


def client_context(certificate: Certificate) -> ssl.SSLContext:
    """A TLS context that accepts a server only if it shows this very certificate, whatever the time is.

    Being the one anchor and, by X509_V_FLAG_PARTIAL_CHAIN, an anchor though it is a leaf, it vouches for itself alone.
    Who shows it has its key; whether it is in date is another question (clock.py), for a clock may be wrong.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    context.load_verify_locations(cadata=certificate.pem)
    return context


def find_problem(pem: str) -> str:
    """Why a browser should not, or will not, accept the first certificate of the PEM text at NAME; "" when nothing is wrong."""
    try:
        with malformed_is_value_error():
            return find_leaf_problem(_load(pem))
    except ValueError as error:
        return f"unreadable: {error}"


def find_leaf_problem(cert: x509.Certificate) -> str:
    """As `find_problem`. The rules are those of browsers' own: keys and hashes, and the names as RFC 9525 has them."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    problem = weak_cryptography(cert)
    if problem:
        return problem
    if NAME not in _certificate(cert).names:
        return f"it is not for {NAME}"
    for extension in cert.extensions:
        match extension.value:
            case x509.ExtendedKeyUsage() as usage if ExtendedKeyUsageOID.SERVER_AUTH not in usage:
                return "it is not for a server"
            case x509.BasicConstraints(ca=True):
                return "it can sign others"
    return ""


@contextmanager
def malformed_is_value_error() -> Iterator[None]:
    """Raise ValueError for each way in which a certificate can be malformed; cryptography has exceptions of its own for some."""
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
    """Why the certificate's key or hash is too weak, or unknown to browsers; "" when both are good."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key, digest = cert.public_key(), cert.signature_hash_algorithm
    match key:
        case rsa.RSAPublicKey() if key.key_size < MIN_RSA_BITS:
            return f"its key is RSA of {key.key_size} bits"
        case rsa.RSAPublicKey() | ec.EllipticCurvePublicKey(curve=ec.SECP256R1() | ec.SECP384R1()):
            pass
        case _:
            return "its key is of a kind that browsers do not know"
    if digest is not None and digest.name in ("md5", "sha1"):
        return f"it is signed with {digest.name.upper()}"
    return ""


def is_signed_by(cert: x509.Certificate, signer: x509.Certificate) -> bool:
    """Whether the signer's key signed the certificate, and the certificate names the signer as its issuer."""
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
