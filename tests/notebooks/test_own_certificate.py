"""A certificate from a site's authority: every mistake that a person makes with one is named before it costs anything."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from notebooks_over_ssh.errors import BadSetting
from notebooks_over_ssh.jupyter import certificate
from notebooks_over_ssh.jupyter import certificate_import as own_certificate

Key = CertificateIssuerPrivateKeyTypes


@dataclass(frozen=True)
class Member:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def signed(
    name: str,
    signer: Member | None = None,
    *,
    key: Key | None = None,
    names: Sequence[str] = (),
    ca: bool = False,
    days: tuple[int, int] = (-1, 90),
    usage: x509.ObjectIdentifier | None = None,
) -> Member:
    """A certificate for `names`, signed by `signer` or itself, good from and to so many days from now."""
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
    return Member(builder.sign(signs_with, digest), key)


@dataclass(frozen=True)
class Site:
    """An authority, one below it that signs for servers, and where a user puts what they get."""

    root: Member
    below: Member
    folder: Path

    def leaf(self, **options: Any) -> Member:
        return signed("a server", self.below, **({"names": ["localhost"]} | options))

    def files(self, chain: Sequence[Member | str], key: Key, *, passphrase: bytes = b"") -> tuple[Path, Path]:
        """The two files; the key is the user's alone."""
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


@pytest.fixture
def site(tmp_path: Path) -> Site:
    root = signed("the root", ca=True)
    return Site(root, signed("the one below", root, ca=True), tmp_path)


def test_a_chain(site: Site) -> None:
    """The server's own, then who signed it: taken over in that order with the key, and none of the words around them."""
    leaf = site.leaf()
    files = site.files(["Bag Attributes: from a browser\n", leaf, "subject=…\n", site.below], leaf.key)
    pem = own_certificate.read(*files)
    loaded = x509.load_pem_x509_certificates(pem.encode())
    assert loaded == [leaf.certificate, site.below.certificate]
    assert re.findall("-----BEGIN (.+)-----", pem) == ["PRIVATE KEY", "CERTIFICATE", "CERTIFICATE"]
    assert "Bag" not in pem and "subject" not in pem
    assert not own_certificate.vouches_for_itself(pem)
    assert certificate.weakness(pem) == ""


@pytest.mark.parametrize(
    "make", [lambda: rsa.generate_private_key(65537, 2048), lambda: ec.generate_private_key(ec.SECP384R1())]
)
def test_kinds_of_keys(site: Site, make: Callable[[], Key]) -> None:
    """RSA of 2048 bits and P-384 will do, also with the root at the end, and with no authority at all, which is told."""
    leaf = site.leaf(key=make())
    own_certificate.read(*site.files([leaf, site.below, site.root], leaf.key))
    alone = signed("myself", key=make(), names=["ashbury.example.org", "localhost"])
    assert own_certificate.vouches_for_itself(own_certificate.read(*site.files([alone], alone.key)))


def faults(site: Site) -> dict[str, tuple[Callable[[], tuple[Path, Path]], tuple[str, ...]]]:
    """By name, how to make the two files, and what the message names."""
    leaf, other = site.leaf(), site.leaf()

    def with_(chain: Sequence[Member | str], key: Key, **options: bytes) -> Callable[[], tuple[Path, Path]]:
        return lambda: site.files(chain, key, **options)

    def alone(member: Member) -> Callable[[], tuple[Path, Path]]:
        return with_([member, site.below], member.key)

    def open_to_others() -> tuple[Path, Path]:
        files = site.files([leaf], leaf.key)
        files[1].chmod(0o640)
        return files

    def der() -> tuple[Path, Path]:
        files = site.files([leaf], leaf.key)
        files[0].write_bytes(leaf.certificate.public_bytes(serialization.Encoding.DER))
        return files

    # Its primes are slow to find, so only the one test looks for them.
    def dsa_key() -> tuple[Path, Path]:
        return alone(site.leaf(key=dsa.generate_private_key(2048)))()

    spent = signed("spent", site.root, key=site.below.key, ca=True, days=(-20, -10))
    return {
        "not a pair": (with_([leaf], other.key), ("server.key", "is not the key of")),
        "upside down": (with_([site.below, leaf], leaf.key), ("begins with", "the one below", "number 2")),
        "a link is missing": (with_([leaf, site.root], leaf.key), ("certificate 2", "CN=the root", "CN=the one below")),
        "a stranger at the end": (
            with_([leaf, site.below, other], leaf.key),
            ("certificate 3", "CN=a server", "CN=the root"),
        ),
        "ended": (alone(site.leaf(days=(-20, -10))), ("certificate 1 of", "not today")),
        "not begun": (alone(site.leaf(days=(10, 20))), ("certificate 1 of", "not today")),
        "a signer has ended": (
            with_([signed("a server", spent, names=["localhost"], key=leaf.key), spent], leaf.key),
            ("certificate 2 of", "not today"),
        ),
        "for another name": (alone(site.leaf(names=["ashbury.example.org"])), ("not for localhost",)),
        "a wildcard": (alone(site.leaf(names=["*.localhost"])), ("not for localhost",)),
        "for no name": (alone(site.leaf(names=[])), ("not for localhost",)),
        "for clients": (
            alone(site.leaf(usage=x509.ExtendedKeyUsageOID.CLIENT_AUTH)),  # type: ignore[attr-defined]
            ("not for a server",),
        ),
        "an authority": (alone(site.leaf(ca=True)), ("can sign others",)),
        "RSA of 1024 bits": (
            alone(site.leaf(key=rsa.generate_private_key(65537, 1024))),
            ("RSA of 1024 bits",),
        ),
        "Ed25519": (alone(site.leaf(key=ed25519.Ed25519PrivateKey.generate())), ("browsers do not know",)),
        "P-521": (alone(site.leaf(key=ec.generate_private_key(ec.SECP521R1()))), ("browsers do not know",)),
        "DSA": (dsa_key, ("browsers do not know",)),
        "others can read the key": (open_to_others, ("others can read", "server.key")),
        "a passphrase": (with_([leaf], leaf.key, passphrase=b"x"), ("server.key", "passphrase")),
        "the wrong way round": (lambda: (with_([leaf], leaf.key)()[1], site.folder / "chain.pem"), ("a key, and no",)),
        "a certificate as key": (lambda: (with_([leaf], leaf.key)()[0],) * 2, ("no key",)),
        "DER": (der, ("chain.pem", "no PEM certificate")),
        "nothing there": (lambda: (site.folder / "x", site.folder / "y"), ("cannot read", "/x")),
    }  # fmt: skip


@pytest.mark.parametrize("fault", list(faults(Site(signed("x", ca=True), signed("x", ca=True), Path()))))
def test_faults(site: Site, fault: str) -> None:
    """Each is refused as a bad argument, by the name of what is wrong, with the one thing to do."""
    make, said = faults(site)[fault]
    files = make()
    if fault == "a certificate as key":
        files[0].chmod(0o600)
    with pytest.raises(BadSetting) as refused:
        own_certificate.read(*files)
    assert refused.value.exit_code == 2
    assert all(word in str(refused.value) for word in said), str(refused.value)
    assert refused.value.hint
