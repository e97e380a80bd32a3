"""Which certificates may be added to a trust store: every property that could grant more is refused by name."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

from notebooks_over_ssh.errors import RemoteError, TaskError
from notebooks_over_ssh.jupyter import certificate as certificates
from notebooks_over_ssh.jupyter.certificate_profile import find_problem
from notebooks_over_ssh.trust_stores import manager as trusting
from tests.kit.certificates import (
    authority,
    certificate,
    malformed,
    names,
    new_key,
    self_signed,
    usages,
)

KEY = new_key()
UNKNOWN = x509.ObjectIdentifier("1.3.6.1.4.1.55555.1")


def purposes(*oids: x509.ObjectIdentifier) -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage(oids)


def forged() -> str:
    """A certificate that names itself as its issuer, and that another key signed."""
    return certificate(KEY, signer=new_key())


REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "an authority": (lambda: authority(KEY), "could sign other certificates"),
    "a path length": (
        lambda: certificate(KEY, basic_constraints=x509.BasicConstraints(True, 0)),
        "could sign other certificates",
    ),
    "no basic constraints": (lambda: certificate(KEY, basic_constraints=None), "no BasicConstraints"),
    "the key signs certificates": (
        lambda: certificate(KEY, key_usage=usages("digital_signature", "key_cert_sign")),
        "its key may be used for key cert sign",
    ),
    "the key signs certificates, without basic constraints": (
        lambda: certificate(KEY, basic_constraints=None, key_usage=usages("key_cert_sign")),
        "no BasicConstraints",
    ),
    "the key signs revocations": (
        lambda: certificate(KEY, key_usage=usages("digital_signature", "crl_sign")),
        "crl sign",
    ),
    "the key encrypts data": (
        lambda: certificate(KEY, key_usage=usages("digital_signature", "data_encipherment")),
        "data encipherment",
    ),
    "the key signs contracts": (
        lambda: certificate(KEY, key_usage=usages("digital_signature", "content_commitment")),
        "content commitment",
    ),
    "no key usage": (lambda: certificate(KEY, key_usage=None), "no keyUsage"),
    "no purpose": (lambda: certificate(KEY, extended_key_usage=None), "no extendedKeyUsage"),
    "any purpose": (
        lambda: certificate(KEY, extended_key_usage=purposes(Purpose.ANY_EXTENDED_KEY_USAGE)),
        "any extended key usage",
    ),
    "signs programs too": (
        lambda: certificate(KEY, extended_key_usage=purposes(Purpose.SERVER_AUTH, Purpose.CODE_SIGNING)),
        "it may be used for code signing",
    ),
    "signs programs": (
        lambda: certificate(KEY, extended_key_usage=purposes(Purpose.CODE_SIGNING)),
        "code signing",
    ),
    "a purpose twice": (
        lambda: certificate(KEY, extended_key_usage=purposes(Purpose.SERVER_AUTH, Purpose.SERVER_AUTH)),
        "the same purpose twice",
    ),
    "an unknown purpose": (
        lambda: certificate(KEY, extended_key_usage=purposes(Purpose.SERVER_AUTH, UNKNOWN)),
        UNKNOWN.dotted_string,
    ),
    "a bank too": (
        lambda: certificate(KEY, names=names("localhost", "www.bank.example", "*.example.org")),
        "it is for www.bank.example, *.example.org",
    ),
    "a bank": (lambda: certificate(KEY, names=names("www.bank.example")), "it is for www.bank.example"),
    "below localhost": (lambda: certificate(KEY, names=names("x.localhost")), "it is for x.localhost"),
    "another name of this machine": (
        lambda: certificate(KEY, names=names("localhost", "localhost.localdomain")),
        "it is for localhost.localdomain",
    ),
    "every name": (lambda: certificate(KEY, names=names("*")), "it is for *"),
    "another address": (
        lambda: certificate(KEY, names=names("localhost", ip=["192.0.2.1"])),
        "it is for 192.0.2.1",
    ),
    "another loopback address": (lambda: certificate(KEY, names=names(ip=["127.0.0.2"])), "127.0.0.2"),
    "a mail address": (
        lambda: certificate(KEY, names=x509.SubjectAlternativeName([x509.RFC822Name("me@bank.example")])),
        "me@bank.example",
    ),
    "a URI": (
        lambda: certificate(
            KEY, names=x509.SubjectAlternativeName([x509.UniformResourceIdentifier("https://bank.example")])
        ),
        "https://bank.example",
    ),
    "another kind of name": (
        lambda: certificate(KEY, names=x509.SubjectAlternativeName([x509.RegisteredID(UNKNOWN)])),
        "RegisteredID",
    ),
    "no name": (lambda: certificate(KEY, names=None), "it is for no name"),
    "a bank in the common name": (
        lambda: certificate(KEY, subject="www.bank.example"),
        "it is for www.bank.example (its common name)",
    ),
    "a bank among words": (lambda: certificate(KEY, subject="a www.bank.example b"), "www.bank.example"),
    "a bank before words": (lambda: certificate(KEY, subject="www.bank.example b"), "www.bank.example"),
    "two common names": (
        lambda: certificate(KEY, subject=x509.Name.from_rfc4514_string("CN=www.bank.example,CN=a server")),
        "it is for www.bank.example (its common name)",
    ),
    "one word in the common name": (lambda: certificate(KEY, subject="intranet"), "it is for intranet"),
    "name constraints": (
        lambda: certificate(KEY, constraints=x509.NameConstraints([x509.DNSName("localhost")], None)),
        "it has the extension 2.5.29.30",
    ),
    "policies": (
        lambda: certificate(KEY, one=x509.CertificatePolicies([x509.PolicyInformation(UNKNOWN, None)])),
        "it has the extension 2.5.29.32",
    ),
    "policy constraints": (
        lambda: certificate(KEY, critical_one=x509.PolicyConstraints(0, None)),
        "it has the extension 2.5.29.36",
    ),
    "an unknown critical extension": (
        lambda: certificate(KEY, critical_one=x509.UnrecognizedExtension(UNKNOWN, b"\5\0")),
        UNKNOWN.dotted_string,
    ),
    "an unknown extension": (
        lambda: certificate(KEY, one=x509.UnrecognizedExtension(UNKNOWN, b"\5\0")),
        UNKNOWN.dotted_string,
    ),
    "a century": (lambda: certificate(KEY, days=(-1, 36_500)), "beyond 400 days"),
    "401 days": (lambda: certificate(KEY, days=(-10, 391)), "beyond 400 days"),
    "next century": (lambda: certificate(KEY, days=(36_000, 36_300)), "beyond 400 days"),
    "another's signature": (forged, "not signed with its own key"),
    "an issuer": (lambda: certificate(KEY, issuer="the site", signer=new_key()), "not signed with its own key"),
    "RSA of 1024 bits": (
        lambda: certificate(rsa.generate_private_key(65537, 1024)),
        "RSA key has only 1024 bits",
    ),
    "Ed25519": (lambda: certificate(ed25519.Ed25519PrivateKey.generate()), "browsers do not support"),
    "no certificate": (lambda: "hello", "unreadable"),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED)
def test_refused(reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate for more than a server's loopback names is refused by name, before any store is read."""
    make, expected = REFUSED[reason]
    pem = make()
    assert expected in find_problem(pem)
    monkeypatch.setenv("HOME", str(tmp_path))
    if reason == "no certificate":
        with pytest.raises(RemoteError):
            certificates.parse(pem)
        return
    with pytest.raises(TaskError, match="was added to no trust store") as excinfo:
        trusting.trust(certificates.parse(pem), "ashbury")
    assert expected in str(excinfo.value) and "secure --renew" in excinfo.value.hint
    assert list(tmp_path.iterdir()) == []


def test_many_long_names() -> None:
    """However many names a certificate has, and however long, the message stays short."""
    problem = find_problem(
        certificate(
            KEY, names=names(*(f"{'a' * 60}.{number}.{'b' * 60}.{'c' * 60}" for number in range(1000)))
        )
    )
    assert len(problem) < 400 and "and 997 more" in problem


@pytest.mark.parametrize(("kind", "pem"), malformed(self_signed()).items())
def test_malformed(kind: str, pem: str) -> None:
    """A certificate that cannot be read is refused as that."""
    assert "it is unreadable" in find_problem(pem)


@pytest.mark.parametrize(
    "make",
    [
        self_signed,
        lambda: certificate(KEY, names=names(ip=["127.0.0.1", "::1"])),
        lambda: certificate(KEY, subject="localhost", days=(-1, 399)),
        lambda: certificate(
            KEY, subject="127.0.0.1", key_usage=usages("digital_signature", "key_encipherment")
        ),
        lambda: certificate(rsa.generate_private_key(65537, 2048)),
        lambda: certificate(ec.generate_private_key(ec.SECP384R1()), one=x509.SubjectKeyIdentifier(b"x")),
        lambda: certificate(KEY, subject="::1", one=x509.AuthorityKeyIdentifier(b"x", None, None)),
    ],
)
def test_allowed(make: Callable[[], str]) -> None:
    """A self-signed leaf for loopback names only is accepted."""
    assert find_problem(make()) == ""
