"""The certificate by which the browser knows the server: what it says, and whether it is good enough."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fabfile.errors import BadSetting, RemoteFailed

if TYPE_CHECKING:
    from cryptography import x509

DAYS = 365


@dataclass(frozen=True)
class Certificate:
    """One server's certificate: PEM text, digests of its DER form, its end, and the names that it is for."""

    pem: str
    sha256: str
    sha1: str
    """By which some stores look it up; it proves nothing."""
    expires: datetime
    names: tuple[str, ...]
    issuer: str
    """The authority that signed it, "" where it signed itself."""
    is_authority: bool
    """Whether others that it signs could be trusted too (RFC 5280, section 4.2.1.9; before version 3, any)."""

    def ends_within(self, days: int) -> bool:
        """Whether it ends, or has ended, within so many days from now."""
        return self.expires - datetime.now(UTC) < timedelta(days=days)


def parse(pem: str) -> Certificate:
    """Read the first certificate of the PEM text. Raises RemoteFailed when there is none."""
    try:
        return _certificate(_load(pem))
    except ValueError as error:
        raise RemoteFailed(
            f"the certificate on the host is unreadable: {error}", hint="make a new one with: secure --renew"
        ) from error


def client_context(certificate: Certificate) -> ssl.SSLContext:
    """A TLS context that accepts a server only if it shows this very certificate.

    Being the one anchor and, by X509_V_FLAG_PARTIAL_CHAIN, an anchor though it is a leaf, it vouches for itself alone.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=certificate.pem)
    return context


def own(certificate_file: Path, key_file: Path) -> str:
    """The user's own certificate, chain and key as one PEM text.

    Raises BadSetting when one is unreadable, the two do not belong together, or the certificate is not in date.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        chain, key_text = certificate_file.read_text("ascii"), key_file.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(
            f"cannot read the certificate or its key: {error}", hint="both must be PEM files"
        ) from error
    try:
        certificate = _load(chain)
    except ValueError as error:
        raise BadSetting(
            f"{certificate_file} has no PEM certificate: {error}", hint="give the file that has"
        ) from error
    try:
        key = load_pem_private_key(key_text.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise BadSetting(
            f"{key_file} has no PEM key without a passphrase",
            hint="openssl pkey -in FILE -out FILE removes one",
        ) from error
    if key.public_key() != certificate.public_key():
        raise BadSetting(
            f"{key_file} is not the key of {certificate_file}",
            hint="give the two files that were made together",
        )
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        raise BadSetting(
            f"{certificate_file} is good from {certificate.not_valid_before_utc:%Y-%m-%d}"
            f" to {certificate.not_valid_after_utc:%Y-%m-%d}, not today",
            hint="get a new one from who signed it",
        )
    return f"{key_text.strip()}\n{chain.strip()}\n"


def _load(pem: str) -> x509.Certificate:
    from cryptography import x509

    return x509.load_pem_x509_certificate(pem.encode())


def _certificate(loaded: x509.Certificate) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    der = loaded.public_bytes(Encoding.DER)
    try:
        subject = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = (
            *subject.get_values_for_type(x509.DNSName),
            *(str(address) for address in subject.get_values_for_type(x509.IPAddress)),
        )
    except x509.ExtensionNotFound:
        names = ()
    try:
        is_authority = loaded.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = loaded.version is not x509.Version.v3
    return Certificate(
        pem=loaded.public_bytes(Encoding.PEM).decode(),
        sha256=hashlib.sha256(der).hexdigest(),
        sha1=hashlib.sha1(der, usedforsecurity=False).hexdigest(),
        expires=loaded.not_valid_after_utc,
        names=names,
        issuer="" if loaded.issuer == loaded.subject else loaded.issuer.rfc4514_string(),
        is_authority=is_authority,
    )
