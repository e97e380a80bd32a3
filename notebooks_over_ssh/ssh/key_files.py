"""Reads a private key, in any form that ssh reads."""

import io
from pathlib import Path

import paramiko

PKCS8 = (b"-----BEGIN PRIVATE KEY-----", b"-----BEGIN ENCRYPTED PRIVATE KEY-----")


def read_key(file: Path, passphrase: str | None) -> paramiko.PKey:
    """The key of the file, with the certificate beside it (`FILE-cert.pub`) where there is one.

    Raises TypeError or PasswordRequiredException when it is encrypted and no passphrase was given; OSError, ValueError,
    UnknownKeyType or SSHException when it is no key or the passphrase is wrong.
    """
    data = file.read_bytes()
    secret = None if passphrase is None else passphrase.encode()
    if not data.lstrip().startswith(PKCS8):
        # Its stubs say text, which is what fails.
        return paramiko.PKey.from_path(file, secret)  # type: ignore[arg-type]
    key = _from_pkcs8(data, secret)
    certificate = Path(f"{file}-cert.pub")
    if certificate.exists():
        key.load_certificate(str(certificate))
    return key


def _from_pkcs8(data: bytes, secret: bytes | None) -> paramiko.PKey:
    """Paramiko does not read this form (RFC 5958), so it is given another one, which stays in memory."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    key = serialization.load_pem_private_key(data, secret)
    kinds: dict[type, type[paramiko.PKey]] = {
        rsa.RSAPrivateKey: paramiko.RSAKey,
        ec.EllipticCurvePrivateKey: paramiko.ECDSAKey,
        ed25519.Ed25519PrivateKey: paramiko.Ed25519Key,
    }
    for kind, reader in kinds.items():
        if isinstance(key, kind):
            text = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
            return reader.from_private_key(io.StringIO(text.decode()))
    raise paramiko.SSHException(f"a key of this kind is of no use to SSH: {type(key).__name__}")
