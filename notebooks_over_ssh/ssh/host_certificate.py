"""A host key that an authority has signed: OpenSSH's certificates (its PROTOCOL.certkeys)."""

from __future__ import annotations

import base64
import fnmatch
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import paramiko
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from notebooks_over_ssh.errors import HostKeyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization import SSHCertificate

# Signatures of SHA-1: OpenSSH takes none by itself since 8.2.
WEAK_ALGORITHMS = ("ssh-rsa", "ssh-dss")
# How many strings the public key is, by the name of the certificate's kind (PROTOCOL.certkeys of OpenSSH).
KEY_FIELDS = {"ssh-rsa": 2, "ssh-ed25519": 1, "ecdsa-sha2": 2}


@dataclass(frozen=True)
class HostCertificate:
    """What a host showed beside its key; nothing of it counts before `verify`."""

    authority: str
    """The key (base64) that is said to have signed it, as known_hosts has it."""
    public_line: str
    """The certificate as in a .pub file."""
    signature_algorithm: str
    _parsed: SSHCertificate

    @classmethod
    def from_key(cls, key: paramiko.PKey) -> HostCertificate | None:
        """The certificate that came with the key, None where none came or it is unreadable."""
        from cryptography.hazmat.primitives import serialization

        blob = getattr(key, "public_blob", None)
        if blob is None or "-cert-" not in blob.key_type:
            return None
        text = f"{blob.key_type} {base64.b64encode(blob.key_blob).decode()}".encode()
        try:
            parsed = serialization.load_ssh_public_identity(text)
            if not isinstance(parsed, serialization.SSHCertificate):
                return None
            encoding, public_format = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
            authority = parsed.signature_key().public_bytes(encoding, public_format).split()[1].decode()
            algorithm = _signature_algorithm(blob.key_blob)
        except (ValueError, UnsupportedAlgorithm):
            return None
        return cls(authority, text.decode(), algorithm, parsed)

    def verify(self, host: str, algorithms: Sequence[str], rsa_size: int) -> None:
        """Return when the certificate is good for the host now; raises HostKeyError.

        `algorithms` are those by which an authority may sign it; an authority's key of RSA has `rsa_size` bits or more.
        """
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
        from cryptography.hazmat.primitives.serialization import SSHCertificateType

        reason = ""
        try:
            self._parsed.verify_cert_signature()
        except InvalidSignature:
            reason = "its signature is wrong"
        signer = self._parsed.signature_key()
        names = [name.decode("utf-8", "replace").lower() for name in self._parsed.valid_principals]
        if self._parsed.type != SSHCertificateType.HOST:
            reason = "it is for a user, not for a host"
        elif not any(fnmatch.fnmatchcase(host.lower(), name.replace("[", "[[]")) for name in names):
            reason = f"it is for {', '.join(names) or 'no host'}"
        elif not self._parsed.valid_after <= time.time() < self._parsed.valid_before:
            reason = "it is not in date"
        elif self._parsed.critical_options:
            reason = "it has conditions that are not known"
        elif self.signature_algorithm in WEAK_ALGORITHMS or self.signature_algorithm not in (
            algorithms or (self.signature_algorithm,)
        ):
            reason = f"its authority signed it with {self.signature_algorithm}"
        elif isinstance(signer, RSAPublicKey) and signer.key_size < rsa_size:
            reason = f"its authority's key has {signer.key_size} bits"
        if reason:
            raise HostKeyError(
                f"the certificate of {host}'s host key is no good: {reason}",
                hint="ask who runs the host to have it signed anew",
            )


def _signature_algorithm(blob: bytes) -> str:
    """The algorithm by which a certificate was signed. Raises ValueError for a kind that is not known."""
    message = paramiko.Message(blob)
    kind = message.get_text()
    fields = next((number for name, number in KEY_FIELDS.items() if kind.startswith(name)), None)
    if fields is None:
        raise ValueError(kind)
    for _ in range(1 + fields):  # the nonce, then the key
        message.get_string()
    message.get_int64()  # serial
    message.get_int()  # type
    for _ in range(2):  # key id, principals
        message.get_string()
    for _ in range(2):  # valid after and before
        message.get_int64()
    for _ in range(4):  # critical options, extensions, reserved, the authority's key
        message.get_string()
    return paramiko.Message(message.get_string()).get_text()
