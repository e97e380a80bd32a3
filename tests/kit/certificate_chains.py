"""Certificates signed by a CA, with their chains."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

Key = CertificateIssuerPrivateKeyTypes


@dataclass(frozen=True)
class ChainMember:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def make_signed(
    name: str,
    signer: ChainMember | None = None,
    *,
    key: Key | None = None,
    names: Sequence[str] = (),
    ca: bool = False,
    days: tuple[int, int] = (-1, 90),
    usage: x509.ObjectIdentifier | None = None,
) -> ChainMember:
    """A certificate for `names`, signed by `signer` or itself, and its key; `days` are its validity, from now."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if ca:
        may = {"key_cert_sign": True, "crl_sign": True}
        may |= dict.fromkeys(("digital_signature", "content_commitment", "key_encipherment"), False)
        may |= dict.fromkeys(("data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False)
        builder = builder.add_extension(x509.KeyUsage(**may), critical=True)
    if signer:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
        builder = builder.add_extension(alternatives, critical=False)
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    signs_with = signer.key if signer else key
    digest = None if isinstance(signs_with, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return ChainMember(builder.sign(signs_with, digest), key)


@dataclass(frozen=True)
class CertificateSite:
    """A root CA, an intermediate CA that signs for servers, and the user's folder for files."""

    root: ChainMember
    intermediate: ChainMember
    folder: Path

    def leaf(self, **options: Any) -> ChainMember:
        return make_signed("a server", self.intermediate, **({"names": ["localhost"]} | options))

    def files(
        self, chain: Sequence[ChainMember | str], key: Key, *, passphrase: bytes = b""
    ) -> tuple[Path, Path]:
        """Write the chain and the key to two files; the key's is private."""
        paths = self.folder / "chain.pem", self.folder / "server.key"
        paths[0].write_text("".join(part if isinstance(part, str) else part.pem for part in chain))
        paths[1].touch(0o600)
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(passphrase)
                if passphrase
                else serialization.NoEncryption(),
            )
        )
        return paths
