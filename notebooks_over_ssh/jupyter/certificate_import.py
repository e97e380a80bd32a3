"""A certificate of the user's own: what a site's authority gave, checked before the host is asked to serve it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from notebooks_over_ssh.errors import BadSetting
from notebooks_over_ssh.jupyter.certificate import NAME, is_signed_by, weakness_of

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

ASK_ANEW = "ask who signed it for another"


def read(certificate_file: Path, key_file: Path) -> str:
    """The key, the certificate and its chain as one PEM text, and nothing else of the two files.

    Raises BadSetting for the first thing that would make a server fail to start, or a browser warn: see docs/security.md.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    chain = _chain(certificate_file)
    key = _key(key_file)
    _check_order(chain, key, certificate_file, key_file)
    for number, member in enumerate(chain, 1):
        which = str(certificate_file) if len(chain) == 1 else f"certificate {number} of {certificate_file}"
        _check_dates(member, which)
    trouble = weakness_of(chain[0])
    if trouble:
        raise BadSetting(
            f"{certificate_file} is no good here: {trouble}, so a browser would warn of it, or trust too much",
            hint=f"ask for one for a server called {NAME}, with RSA of 2048 bits or more or P-256: docs/security.md says how",
        )
    parts = [key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())]
    return b"".join([*parts, *(member.public_bytes(Encoding.PEM) for member in chain)]).decode()


def vouches_for_itself(pem: str) -> bool:
    """Whether the first certificate of the PEM text is signed by its own key, so that no authority vouches for it."""
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
            raise _wrong_way_round(file, "a key, and no certificate") from error
        raise BadSetting(
            f"{file} has no PEM certificate: {error}",
            hint="give the file that has; openssl x509 -inform der -in FILE -out FILE.pem makes one of DER",
        ) from error


def _key(file: Path) -> PrivateKeyTypes:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _content(file)
    if os.name == "posix" and file.stat().st_mode & 0o077:
        raise BadSetting(f"others can read {file}", hint=f"chmod 600 {file}")
    try:
        return load_pem_private_key(content, password=None)
    except TypeError as error:
        raise BadSetting(
            f"{file} is protected by a passphrase, which the server would have to ask for",
            hint="umask 077; openssl pkey -in FILE -out ANOTHER makes a copy without",
        ) from error
    except ValueError as error:
        if b"-----BEGIN CERTIFICATE-----" in content:
            raise _wrong_way_round(file, "a certificate, and no key") from error
        raise BadSetting(f"{file} has no PEM key: {error}", hint="give the file that has") from error


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadSetting(
            f"cannot read the certificate or its key: {error}", hint="both must be PEM files"
        ) from error


def _wrong_way_round(file: Path, what: str) -> BadSetting:
    return BadSetting(
        f"{file} has {what}", hint="see whether --certificate and --key are the wrong way round"
    )


def _check_order(
    chain: list[x509.Certificate], key: PrivateKeyTypes, certificate_file: Path, key_file: Path
) -> None:
    """The server's own first, each signed by the next (RFC 8446, section 4.4.2)."""
    ours = [number for number, member in enumerate(chain, 1) if member.public_key() == key.public_key()]
    if not ours:
        raise BadSetting(
            f"{key_file} is not the key of {certificate_file}",
            hint="give the two files that were made together",
        )
    if ours[0] != 1:
        raise BadSetting(
            f"{certificate_file} begins with the certificate of {_subject(chain[0])}, and the server's own is number {ours[0]}",
            hint="put the server's own first, then each one that signed the one before it",
        )
    for number, (member, signer) in enumerate(pairwise(chain), 1):
        if not is_signed_by(member, signer):
            raise BadSetting(
                f"certificate {number + 1} of {certificate_file}, {_subject(signer)}, did not sign the one before it,"
                f" which {_issuer(member)} signed",
                hint="put the server's own first, then each one that signed the one before it, and no other",
            )


def _check_dates(member: x509.Certificate, which: str) -> None:
    begins, ends = member.not_valid_before_utc, member.not_valid_after_utc
    if not begins <= datetime.now(UTC) < ends:
        raise BadSetting(
            f"{which} is good from {begins:%Y-%m-%d} to {ends:%Y-%m-%d}, not today", hint=ASK_ANEW
        )


def _subject(member: x509.Certificate) -> str:
    return member.subject.rfc4514_string() or "nobody"


def _issuer(member: x509.Certificate) -> str:
    return member.issuer.rfc4514_string() or "nobody"
