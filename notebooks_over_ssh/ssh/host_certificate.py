"""Host certificates (OpenSSH PROTOCOL.certkeys)."""

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

# SHA-1 signatures; OpenSSH has rejected them by default since 8.2.
WEAK_ALGORITHMS = ("ssh-rsa", "ssh-dss")
# The number of strings that encode the public key, by the prefix of the certificate type.
KEY_FIELDS = {"ssh-rsa": 2, "ssh-ed25519": 1, "ecdsa-sha2": 2}


@dataclass(frozen=True)
class HostCertificate:
    """The certificate that a host presented with its key; `verify` checks it."""

    authority: str
    """The public key (base64) of the certificate authority that it names, in the format of known_hosts."""
    public_line: str
    """The certificate as in a .pub file."""
    signature_algorithm: str
    _parsed: SSHCertificate

    @classmethod
    def from_key(cls, key: paramiko.PKey) -> HostCertificate | None:
        """The certificate that was presented with the key; None if there is none, or it is malformed."""
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

    def verify(self, host: str, algorithms: Sequence[str], min_rsa_bits: int) -> None:
        """Verify the signature, and that the certificate is valid for the host now. Raises HostKeyError.

        `algorithms` are the allowed signature algorithms; none allows all but those with SHA-1. An RSA key of the
        authority must have at least `min_rsa_bits` bits.
        """
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
        from cryptography.hazmat.primitives.serialization import SSHCertificateType

        reason = ""
        try:
            self._parsed.verify_cert_signature()
        except InvalidSignature:
            reason = "its signature is invalid"
        signer = self._parsed.signature_key()
        names = [name.decode("utf-8", "replace").lower() for name in self._parsed.valid_principals]
        if self._parsed.type != SSHCertificateType.HOST:
            reason = "it is a user certificate"
        elif not any(fnmatch.fnmatchcase(host.lower(), name.replace("[", "[[]")) for name in names):
            reason = f"it is valid for {', '.join(names) or 'no host'}"
        elif not self._parsed.valid_after <= time.time() < self._parsed.valid_before:
            reason = "it is expired or not yet valid"
        elif self._parsed.critical_options:
            reason = "it has an unknown critical option"
        elif self.signature_algorithm in WEAK_ALGORITHMS or self.signature_algorithm not in (
            algorithms or (self.signature_algorithm,)
        ):
            reason = f"it is signed with {self.signature_algorithm}"
        elif isinstance(signer, RSAPublicKey) and signer.key_size < min_rsa_bits:
            reason = f"its authority's RSA key has {signer.key_size} bits"
        if reason:
            raise HostKeyError(
                f"the host certificate of {host} is invalid: {reason}",
                hint="ask the host's administrators to renew it",
            )


def _signature_algorithm(blob: bytes) -> str:
    """The algorithm of the signature. Raises ValueError if the certificate type is unknown."""
    message = paramiko.Message(blob)
    certificate_type = message.get_text()
    fields = next((number for name, number in KEY_FIELDS.items() if certificate_type.startswith(name)), None)
    if fields is None:
        raise ValueError(certificate_type)
    for _ in range(1 + fields):  # nonce, public key
        message.get_string()
    message.get_int64()  # serial
    message.get_int()  # type
    for _ in range(2):  # key id, principals
        message.get_string()
    for _ in range(2):  # valid after and before
        message.get_int64()
    for _ in range(4):  # critical options, extensions, reserved, signature key
        message.get_string()
    return paramiko.Message(message.get_string()).get_text()
