"""Importing a certificate of the site's CA: every common mistake has its own error."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.jupyter import certificate as certificates
from notebooks_over_ssh.jupyter import certificate_import as own_certificate
from tests.kit.certificate_chains import CertificateSite, ChainMember, make_signed
from tests.kit.certificates import SigningKey, certificate, malformed, new_key

KEY = new_key()
MALFORMED = malformed(certificate(KEY))
# The certificate of a key that agrees on secrets and signs nothing (RFC 7748).
UNABLE = make_signed(
    "the one below", make_signed("the root", ca=True), key=cast(Any, X25519PrivateKey.generate())
).pem


@pytest.fixture
def certificate_site(tmp_path: Path) -> CertificateSite:
    root = make_signed("the root", ca=True)
    return CertificateSite(root, make_signed("the one below", root, ca=True), tmp_path)


def test_chain(certificate_site: CertificateSite) -> None:
    """The server's certificate and the CA's are imported in that order with the key, without the text around them."""
    leaf = certificate_site.leaf()
    files = certificate_site.files(
        ["Bag Attributes: from a browser\n", leaf, "subject=…\n", certificate_site.intermediate], leaf.key
    )
    pem = own_certificate.read(*files)
    loaded = x509.load_pem_x509_certificates(pem.encode())
    assert loaded == [leaf.certificate, certificate_site.intermediate.certificate]
    assert re.findall("-----BEGIN (.+)-----", pem) == ["PRIVATE KEY", "CERTIFICATE", "CERTIFICATE"]
    assert "Bag" not in pem and "subject" not in pem
    assert not own_certificate.is_self_signed(pem)
    assert certificates.find_problem(pem) == ""


@pytest.mark.parametrize(
    "make", [lambda: rsa.generate_private_key(65537, 2048), lambda: ec.generate_private_key(ec.SECP384R1())]
)
def test_key_types(certificate_site: CertificateSite, make: Callable[[], SigningKey]) -> None:
    """RSA of 2048 bits and P-384 are accepted, also with the root in the chain, and self-signed, which is_self_signed
    reports.
    """
    key = make()
    leaf = certificate_site.leaf(key=key)
    own_certificate.read(
        *certificate_site.files([leaf, certificate_site.intermediate, certificate_site.root], leaf.key)
    )
    alone = make_signed("myself", key=key, names=["ashbury.example.org", "localhost"])
    assert own_certificate.is_self_signed(own_certificate.read(*certificate_site.files([alone], alone.key)))


def cases(
    certificate_site: CertificateSite,
) -> dict[str, tuple[Callable[[], tuple[Path, Path]], tuple[str, ...]]]:
    """By name, how to make the two files, and the texts in the message."""
    leaf, other = certificate_site.leaf(), certificate_site.leaf()

    def with_(
        chain: Sequence[ChainMember | str], key: SigningKey, **options: bytes
    ) -> Callable[[], tuple[Path, Path]]:
        return lambda: certificate_site.files(chain, key, **options)

    def alone(member: ChainMember) -> Callable[[], tuple[Path, Path]]:
        return with_([member, certificate_site.intermediate], member.key)

    def open_to_others(mode: int) -> Callable[[], tuple[Path, Path]]:
        def make() -> tuple[Path, Path]:
            files = certificate_site.files([leaf], leaf.key)
            files[1].chmod(mode)
            return files

        return make

    def damaged(pem: str) -> Callable[[], tuple[Path, Path]]:
        return with_([pem], KEY)

    def der() -> tuple[Path, Path]:
        files = certificate_site.files([leaf], leaf.key)
        files[0].write_bytes(leaf.certificate.public_bytes(serialization.Encoding.DER))
        return files

    # Slow to generate: only in the test that needs them.
    def with_key(make_key: Callable[[], SigningKey]) -> Callable[[], tuple[Path, Path]]:
        return lambda: alone(certificate_site.leaf(key=make_key()))()

    expired = make_signed(
        "expired", certificate_site.root, key=certificate_site.intermediate.key, ca=True, days=(-20, -10)
    )
    return {
        "not a pair": (with_([leaf], other.key), ("server.key", "is not the key of")),
        "upside down": (
            with_([certificate_site.intermediate, leaf], leaf.key), ("begins with", "the one below", "number 2"),
        ),
        "a link is missing": (
            with_([leaf, certificate_site.root], leaf.key), ("certificate 2", "CN=the root", "CN=the one below"),
        ),
        "a stranger at the end": (
            with_([leaf, certificate_site.intermediate, other], leaf.key),
            ("certificate 3", "CN=a server", "CN=the root"),
        ),
        "ended": (alone(certificate_site.leaf(days=(-20, -10))), ("certificate 1 of", "not today")),
        "not begun": (alone(certificate_site.leaf(days=(10, 20))), ("certificate 1 of", "not today")),
        "a signer has ended": (
            with_([make_signed("a server", expired, names=["localhost"], key=leaf.key), expired], leaf.key),
            ("certificate 2 of", "not today"),
        ),
        "for another name": (alone(certificate_site.leaf(names=["ashbury.example.org"])), ("not valid for localhost",)),
        "a wildcard": (alone(certificate_site.leaf(names=["*.localhost"])), ("not valid for localhost",)),
        "for no name": (alone(certificate_site.leaf(names=[])), ("not valid for localhost",)),
        "for clients": (
            alone(certificate_site.leaf(usage=x509.ExtendedKeyUsageOID.CLIENT_AUTH)),  # type: ignore[attr-defined]
            ("not valid for a server",),
        ),
        "an authority": (alone(certificate_site.leaf(ca=True)), ("can sign other certificates",)),
        "RSA of 1024 bits": (
            with_key(lambda: rsa.generate_private_key(65537, 1024)),
            ("RSA key has only 1024 bits",),
        ),
        "Ed25519": (with_key(ed25519.Ed25519PrivateKey.generate), ("browsers do not support",)),
        "P-521": (with_key(lambda: ec.generate_private_key(ec.SECP521R1())), ("browsers do not support",)),
        "DSA": (with_key(lambda: dsa.generate_private_key(1024)), ("browsers do not support",)),
        "the group can read the key": (open_to_others(0o640), ("other users have access", "server.key")),
        "all can read the key": (open_to_others(0o604), ("other users have access", "server.key")),
        "others can write the key": (open_to_others(0o602), ("other users have access", "server.key")),
        "a signer that cannot sign": (
            with_([leaf, UNABLE], leaf.key), ("certificate 2", "did not sign the one before it")
        ),
        "a passphrase": (with_([leaf], leaf.key, passphrase=b"x"), ("server.key", "passphrase")),
        "the wrong way round": (
            lambda: (with_([leaf], leaf.key)()[1], certificate_site.folder / "chain.pem"), ("a key, but no",),
        ),
        "a certificate as key": (lambda: (with_([leaf], leaf.key)()[0],) * 2, ("no key",)),
        "DER": (der, ("chain.pem", "no PEM certificate")),
        **{name: (damaged(pem), ("chain.pem", "unreadable")) for name, pem in MALFORMED.items()},
        "no file": (lambda: (certificate_site.folder / "x", certificate_site.folder / "y"), ("cannot read", "/x")),
    }  # fmt: skip


@pytest.mark.parametrize(
    "fault",
    list(cases(CertificateSite(make_signed("x", ca=True), make_signed("x", ca=True), Path()))),
)
def test_invalid(certificate_site: CertificateSite, fault: str) -> None:
    """Each mistake is refused as an invalid argument, by name, with a hint."""
    make, expected = cases(certificate_site)[fault]
    files = make()
    if fault == "a certificate as key":
        files[0].chmod(0o600)
    with pytest.raises(ConfigError) as excinfo:
        own_certificate.read(*files)
    assert excinfo.value.exit_code == 2
    assert all(word in str(excinfo.value) for word in expected), str(excinfo.value)
    assert excinfo.value.hint


def test_self_signed() -> None:
    """A certificate that names itself as its issuer, but that another key signed, is not self-signed."""
    assert own_certificate.is_self_signed(certificate(KEY))
    assert not own_certificate.is_self_signed(certificate(KEY, signer=new_key()))
