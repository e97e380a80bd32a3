"""The profile of a certificate that may enter a trust store: a self-signed leaf for the loopback names only.

A browser trusts a certificate in its store for every name and purpose that it states, and the certificate comes from a
host that others may control. So everything in it must be on an allow-list here (RFC 5280, section 4.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from notebooks_over_ssh.jupyter.certificate import is_signed_by, malformed_is_value_error, weak_cryptography

ALLOWED_NAMES: tuple[x509.GeneralName, ...] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ip_address("127.0.0.1")),
    x509.IPAddress(ip_address("::1")),
)
ALLOWED_COMMON_NAMES = ("localhost", "127.0.0.1", "::1")
ALLOWED_EXTENSIONS = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
    x509.SubjectKeyIdentifier,
    x509.AuthorityKeyIdentifier,
)
ALLOWED_KEY_USAGES = ("digital_signature", "key_encipherment", "key_agreement")
KEY_USAGES = (
    *ALLOWED_KEY_USAGES,
    *("key_cert_sign", "crl_sign", "content_commitment", "data_encipherment"),
)
MAX_LIFETIME = timedelta(days=400)
# Words such as "notebook server over SSH": no host name or address contains a space.
_WORDS = re.compile(r"[A-Za-z0-9-]+( [A-Za-z0-9-]+)+")
_MAX_NAMES = 3
_MAX_NAME_LENGTH = 80  # characters


def find_problem(pem: str) -> str:
    """The first thing in the first certificate of the PEM text that the profile does not allow; "" if there is none."""
    try:
        with malformed_is_value_error():
            return next(_problems(x509.load_pem_x509_certificate(pem.encode())), "")
    except ValueError as error:
        return f"it is unreadable: {error}"


def _problems(certificate: x509.Certificate) -> Iterator[str]:
    if certificate.version is not x509.Version.v3:
        yield "it is not an X.509 version 3 certificate, so it could sign other certificates for any site"
        return
    extensions = {type(extension.value): extension for extension in certificate.extensions}
    values = {kind: extension.value for kind, extension in extensions.items()}
    match values.get(x509.BasicConstraints):
        case x509.BasicConstraints(ca=False):
            pass
        case None:
            yield "it does not state that it cannot sign other certificates (no BasicConstraints)"
        case _:
            yield "it could sign other certificates for any site"
    yield from _name_problems(certificate, values.get(x509.SubjectAlternativeName))
    yield from _usage_problems(values.get(x509.KeyUsage), values.get(x509.ExtendedKeyUsage))
    for kind, extension in extensions.items():
        if kind not in ALLOWED_EXTENSIONS:
            yield f"it has the extension {extension.oid.dotted_string}"
    yield from _lifetime_problems(certificate)
    yield from filter(None, [weak_cryptography(certificate)])
    if not is_signed_by(certificate, certificate):
        yield "it is not signed with its own key"


def _name_problems(certificate: x509.Certificate, alternatives: x509.ExtensionType | None) -> Iterator[str]:
    names = list(alternatives) if isinstance(alternatives, x509.SubjectAlternativeName) else []
    disallowed = [name for name in names if name not in ALLOWED_NAMES]
    if disallowed:
        yield f"it is for {_format_names(_text(name) for name in disallowed)}"
    elif not names:
        yield "it is for no name (no subjectAltName)"
    common = [
        str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]
    disallowed_common_names = [
        name for name in common if name not in ALLOWED_COMMON_NAMES and not _WORDS.fullmatch(name)
    ]
    if disallowed_common_names:
        yield f"it is for {_format_names(disallowed_common_names)} (its common name)"


def _usage_problems(
    key_usage: x509.ExtensionType | None, extended: x509.ExtensionType | None
) -> Iterator[str]:
    if isinstance(key_usage, x509.KeyUsage):
        disallowed = [
            name for name in KEY_USAGES if name not in ALLOWED_KEY_USAGES and getattr(key_usage, name)
        ]
        if disallowed:
            yield f"its key may be used for {_format_names(name.replace('_', ' ') for name in disallowed)}"
    else:
        yield "its key may be used for anything (no keyUsage)"
    if not isinstance(extended, x509.ExtendedKeyUsage):
        yield "it may be used for anything (no extendedKeyUsage)"
    elif list(extended) != [ExtendedKeyUsageOID.SERVER_AUTH]:
        purposes = [_purpose(usage) for usage in extended if usage != ExtendedKeyUsageOID.SERVER_AUTH]
        yield f"it may be used for {_format_names(purposes) or 'the same purpose twice'}"


def _lifetime_problems(certificate: x509.Certificate) -> Iterator[str]:
    not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not_after - not_before > MAX_LIFETIME or not_after - datetime.now(UTC) > MAX_LIFETIME:
        yield f"it is valid from {not_before:%Y-%m-%d} until {not_after:%Y-%m-%d}, beyond {MAX_LIFETIME.days} days"


def _text(name: x509.GeneralName) -> str:
    match name:
        case x509.DNSName() | x509.IPAddress() | x509.RFC822Name() | x509.UniformResourceIdentifier():
            return str(name.value)
        case _:
            return f"a name of the kind {type(name).__name__}"


def _purpose(usage: x509.ObjectIdentifier) -> str:
    names_by_oid = {
        oid: name for name, oid in vars(ExtendedKeyUsageOID).items() if isinstance(oid, x509.ObjectIdentifier)
    }
    return names_by_oid.get(usage, usage.dotted_string).lower().replace("_", " ")


def _format_names(names: Iterable[str]) -> str:
    """The first names, each truncated, because a certificate may have any number of any length."""
    shortened = [name[:_MAX_NAME_LENGTH] for name in names]
    omitted = len(shortened) - _MAX_NAMES
    return ", ".join(shortened[:_MAX_NAMES]) + (f" and {omitted} more" if omitted > 0 else "")
