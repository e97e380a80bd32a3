"""Reads private keys, in every format that ssh reads."""

import io
from pathlib import Path

import paramiko

from notebooks_over_ssh.ssh.security_keys import read_security_key

PKCS8 = (b"-----BEGIN PRIVATE KEY-----", b"-----BEGIN ENCRYPTED PRIVATE KEY-----")


def read_key(file: Path, passphrase: str | None, provider: str) -> paramiko.PKey:
    """The private key in the file, with the certificate `FILE-cert.pub` if there is one.

    `provider` is the library that reaches the authenticator of a security key.

    Raises TypeError or PasswordRequiredException if the key is encrypted and `passphrase` is None; OSError, ValueError,
    UnknownKeyType or SSHException if the file is not a valid key or the passphrase is wrong.
    """
    data = file.read_bytes()
    secret = None if passphrase is None else passphrase.encode()
    security_key = read_security_key(file, data, secret, provider)
    if security_key is None and not data.lstrip().startswith(PKCS8):
        # The stubs want str, which from_path does not accept.
        return paramiko.PKey.from_path(file, secret)  # type: ignore[arg-type]
    key = security_key or _from_pkcs8(data, secret)
    certificate = Path(f"{file}-cert.pub")
    if certificate.exists():
        key.load_certificate(str(certificate))
    return key


def _from_pkcs8(data: bytes, secret: bytes | None) -> paramiko.PKey:
    """Read a PKCS #8 key (RFC 5958), which Paramiko does not support, by converting it in memory."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    key = serialization.load_pem_private_key(data, secret)
    classes: dict[type, type[paramiko.PKey]] = {
        rsa.RSAPrivateKey: paramiko.RSAKey,
        ec.EllipticCurvePrivateKey: paramiko.ECDSAKey,
        ed25519.Ed25519PrivateKey: paramiko.Ed25519Key,
    }
    for key_type, key_class in classes.items():
        if isinstance(key, key_type):
            text = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
            return key_class.from_private_key(io.StringIO(text.decode()))
    raise paramiko.SSHException(f"key type not supported: {type(key).__name__}")
