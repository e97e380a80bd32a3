"""Certificates signed by a CA, with their chains."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.kit import certificates
from tests.kit.certificates import SigningKey, certificate, new_key, usages


@dataclass(frozen=True)
class ChainMember:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: SigningKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def make_signed(
    name: str,
    signer: ChainMember | None = None,
    *,
    key: SigningKey | None = None,
    names: Sequence[str] = (),
    ca: bool = False,
    days: tuple[int, int] = (-1, 90),
    usage: x509.ObjectIdentifier | None = None,
) -> ChainMember:
    """A certificate for `names`, signed by `signer` or itself, and its key; `days` are its validity, from now."""
    key = key or new_key()
    extensions: dict[str, x509.ExtensionType | None] = {
        "basic_constraints": x509.BasicConstraints(ca, None),
        "key_usage": usages("key_cert_sign", "crl_sign") if ca else None,
        "extended_key_usage": x509.ExtendedKeyUsage([usage]) if usage else None,
        "names": certificates.names(*names) if names else None,
        "subject_key": x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
    }
    if signer:
        extensions["authority_key"] = x509.AuthorityKeyIdentifier.from_issuer_public_key(
            signer.key.public_key()
        )
    pem = certificate(
        key,
        subject=name,
        issuer=signer.certificate.subject if signer else "",
        signer=signer.key if signer else None,
        days=days,
        **extensions,
    )
    return ChainMember(x509.load_pem_x509_certificate(pem.encode()), key)


@dataclass(frozen=True)
class CertificateSite:
    """A root CA, an intermediate CA that signs for servers, and the user's folder for files."""

    root: ChainMember
    intermediate: ChainMember
    folder: Path

    def leaf(self, **options: Any) -> ChainMember:
        return make_signed("a server", self.intermediate, **({"names": ["localhost"]} | options))

    def files(
        self, chain: Sequence[ChainMember | str], key: SigningKey, *, passphrase: bytes = b""
    ) -> tuple[Path, Path]:
        """Write the chain and the key to two files; the key's is private."""
        paths = self.folder / "chain.pem", self.folder / "server.key"
        paths[0].write_text("".join(part if isinstance(part, str) else part.pem for part in chain))
        paths[1].touch(0o600)
        paths[1].write_text(certificates.pem(key, passphrase))
        return paths
