"""Reads a certificate of the user's own, and validates it before it is installed on the host."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.jupyter.certificate import (
    NAME,
    find_leaf_problem,
    is_signed_by,
    malformed_is_value_error,
)

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

HINT_REQUEST_NEW = "request a new one from the authority that signed it"


def read(certificate_file: Path, key_file: Path) -> str:
    """The key, the certificate and its chain from the two files, as one PEM text.

    Raises ConfigError if the server would fail to start with them, or a browser would warn: see docs/security.md.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    try:
        with malformed_is_value_error():
            chain = _chain(certificate_file)
            key = _key(key_file)
            _check_order(chain, key, certificate_file, key_file)
            problem = find_leaf_problem(chain[0])
    except ValueError as error:
        raise ConfigError(f"{certificate_file} is unreadable: {error}", hint=HINT_REQUEST_NEW) from error
    for number, cert in enumerate(chain, 1):
        label = str(certificate_file) if len(chain) == 1 else f"certificate {number} of {certificate_file}"
        _check_dates(cert, label)
    if problem:
        raise ConfigError(
            f"cannot use {certificate_file}: {problem}, so browsers would warn, or trust too much",
            hint=f"request one for {NAME}, with an RSA key of 2048 bits or more, or P-256: see docs/security.md",
        )
    parts = [key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())]
    return b"".join([*parts, *(cert.public_bytes(Encoding.PEM) for cert in chain)]).decode()


def is_self_signed(pem: str) -> bool:
    """Whether the first certificate of the PEM text is self-signed."""
    from cryptography import x509

    first = x509.load_pem_x509_certificate(pem.encode())
    return is_signed_by(first, first)


def _chain(file: Path) -> list[x509.Certificate]:
    from cryptography import x509

    content = _content(file)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        if b"PRIVATE KEY-----" in content:
            raise _swapped_files(file, "a key, but no certificate") from error
        raise ConfigError(
            f"{file} contains no PEM certificate: {error}",
            hint="give a PEM file; openssl x509 -inform der -in FILE -out FILE.pem converts one from DER",
        ) from error


def _key(file: Path) -> PrivateKeyTypes:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _content(file)
    if os.name == "posix" and file.stat().st_mode & 0o077:
        raise ConfigError(f"other users have access to {file}", hint=f"chmod 600 {file}")
    try:
        return load_pem_private_key(content, password=None)
    except TypeError as error:
        raise ConfigError(
            f"{file} has a passphrase, which the server cannot prompt for",
            hint="umask 077; openssl pkey -in FILE -out ANOTHER makes a copy without one",
        ) from error
    except ValueError as error:
        if b"-----BEGIN CERTIFICATE-----" in content:
            raise _swapped_files(file, "a certificate, but no key") from error
        raise ConfigError(
            f"{file} contains no PEM key: {error}", hint="give the PEM file of the key"
        ) from error


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read {file}: {error.strerror}", hint="give the path of a PEM file"
        ) from error


def _swapped_files(file: Path, content_name: str) -> ConfigError:
    return ConfigError(
        f"{file} contains {content_name}", hint="check whether --certificate and --key are swapped"
    )


def _check_order(
    chain: list[x509.Certificate], key: PrivateKeyTypes, certificate_file: Path, key_file: Path
) -> None:
    """Check that the server's certificate comes first, and each is signed by the next (RFC 8446, section 4.4.2)."""
    matching = [number for number, cert in enumerate(chain, 1) if cert.public_key() == key.public_key()]
    if not matching:
        raise ConfigError(
            f"{key_file} is not the key of {certificate_file}",
            hint="give the key that belongs to the certificate",
        )
    if matching[0] != 1:
        raise ConfigError(
            f"{certificate_file} begins with the certificate of {_subject(chain[0])};"
            f" the server's is number {matching[0]}",
            hint="put the server's certificate first, followed by the signer of each",
        )
    for number, (cert, signer) in enumerate(pairwise(chain), 1):
        if not is_signed_by(cert, signer):
            raise ConfigError(
                f"certificate {number + 1} of {certificate_file}, {_subject(signer)}, did not sign the one before it;"
                f" {_issuer(cert)} did",
                hint="put the server's certificate first, followed by the signer of each, and no others",
            )


def _check_dates(cert: x509.Certificate, label: str) -> None:
    not_before, not_after = cert.not_valid_before_utc, cert.not_valid_after_utc
    if not not_before <= datetime.now(UTC) < not_after:
        raise ConfigError(
            f"{label} is valid from {not_before:%Y-%m-%d} to {not_after:%Y-%m-%d}, not today",
            hint=HINT_REQUEST_NEW,
        )


def _subject(cert: x509.Certificate) -> str:
    return cert.subject.rfc4514_string() or "an unnamed subject"


def _issuer(cert: x509.Certificate) -> str:
    return cert.issuer.rfc4514_string() or "an unnamed issuer"
