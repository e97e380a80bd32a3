"""Certificates as servers have them, good and bad ones."""

import hashlib
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

Key = ec.EllipticCurvePrivateKey


def certificate(
    key: Key, *, subject: str = "a server", issuer: str = "", signer: Key | None = None, ca: bool = False
) -> str:
    """A certificate for localhost, as PEM: signed by itself unless an issuer and its key are given."""
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer or subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=90))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(signer or key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode()


def self_signed() -> str:
    """A new one, which can sign nothing else."""
    return certificate(new_key())


def new_key() -> Key:
    """A P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: Key) -> str:
    """A key in a file that servers read."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def sha256(certificate_pem: str) -> str:
    """The SHA-256 of its DER form, as browsers show it, without the colons."""
    return hashlib.sha256(
        x509.load_pem_x509_certificate(certificate_pem.encode()).public_bytes(Encoding.DER)
    ).hexdigest()


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
