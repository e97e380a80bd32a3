"""Certificates of servers, valid and invalid ones."""

import hashlib
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

Key = ec.EllipticCurvePrivateKey
SigningKey = CertificateIssuerPrivateKeyTypes


def certificate(
    key: SigningKey,
    *,
    subject: str | x509.Name = "a server",
    issuer: str | x509.Name = "",
    signer: SigningKey | None = None,
    days: tuple[int, int] = (-1, 90),
    **extensions: x509.ExtensionType | None,
) -> str:
    """A certificate of a server for localhost, as PEM: self-signed unless an issuer and its key are given.

    A text as subject is the common name. `days` are those from now at which it begins and ends. `extensions` replace
    or, where None, remove those of EXTENSIONS, and add others.
    """
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer or subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )
    for name, value in (EXTENSIONS | extensions).items():
        if value is not None:
            critical = name in ("basic_constraints", "key_usage") or name.startswith("critical")
            builder = builder.add_extension(value, critical=critical)
    signing_key = signer or key
    digest = None if isinstance(signing_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(signing_key, digest).public_bytes(Encoding.PEM).decode()


def self_signed() -> str:
    """A new self-signed leaf."""
    return certificate(new_key())


def authority(key: SigningKey) -> str:
    """A CA certificate."""
    return certificate(
        key, basic_constraints=x509.BasicConstraints(True, None), key_usage=usages("key_cert_sign")
    )


def names(*dns: str, ip: Sequence[str] = ()) -> x509.SubjectAlternativeName:
    """The extension with the names that a certificate is for."""
    addresses = [x509.IPAddress(ip_address(address)) for address in ip]
    return x509.SubjectAlternativeName([*map(x509.DNSName, dns), *addresses])


def usages(*names: str) -> x509.KeyUsage:
    """The key usage extension: the names of RFC 5280, section 4.2.1.3, as cryptography spells them."""
    all_usages = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: name in names for name in all_usages})


EXTENSIONS: dict[str, x509.ExtensionType | None] = {
    "basic_constraints": x509.BasicConstraints(False, None),
    "key_usage": usages("digital_signature"),
    "extended_key_usage": x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
    "names": names("localhost"),
}


def new_key() -> Key:
    """A P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: SigningKey, passphrase: bytes = b"") -> str:
    """A private key in PEM (PKCS #8)."""
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def server_context(pem: str, folder: Path) -> ssl.SSLContext:
    """The context of a TLS server with this key and certificate, which are written to a file in the folder."""
    file = folder / "server.pem"
    file.write_text(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def patched(certificate_pem: str, old: bytes, new: bytes) -> str:
    """The certificate with other bytes in its DER form, which leaves its signature as it was."""
    der = ssl.PEM_cert_to_DER_cert(certificate_pem)
    assert old in der and len(old) == len(new)
    return ssl.DER_cert_to_PEM_cert(der.replace(old, new))


def malformed(certificate_pem: str) -> dict[str, str]:
    """The certificate, which must be for localhost alone and of an EC key, damaged in ways that DER allows."""
    signature, curve = b"\x2a\x86\x48\xce\x3d\x04\x03\x02", b"\x2a\x86\x48\xce\x3d\x03\x01\x07"
    changes = {
        # keyUsage becomes a second subjectAltName: id-ce 15 and 17 (RFC 5280, section 4.2.1).
        "an extension twice": (b"\x06\x03\x55\x1d\x0f", b"\x06\x03\x55\x1d\x11"),
        "an unknown version": (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x04"),
        "an X.400 address": (b"\x82\x09localhost", b"\xa3\x09\x04\x07calhost"),
        "an unknown signature": (signature, signature[:-1] + b"\x0f"),
        "an unknown curve": (curve, curve[:-1] + b"\x0f"),
    }
    return {name: patched(certificate_pem, *change) for name, change in changes.items()}


def sha256(certificate_pem: str) -> str:
    """The SHA-256 of its DER form, as browsers show it, without the colons."""
    return hashlib.sha256(
        x509.load_pem_x509_certificate(certificate_pem.encode()).public_bytes(Encoding.DER)
    ).hexdigest()


def _name(name: str | x509.Name) -> x509.Name:
    if isinstance(name, x509.Name):
        return name
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
