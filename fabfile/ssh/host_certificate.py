"""A host key that an authority has signed: OpenSSH's certificates (its PROTOCOL.certkeys)."""

from __future__ import annotations

import base64
import fnmatch
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import paramiko
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from fabfile.errors import HostKeyRefused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization import SSHCertificate


@dataclass(frozen=True)
class HostCertificate:
    """What a host showed beside its key; nothing of it counts before `check`."""

    authority: str
    """The key (base64) that is said to have signed it, as known_hosts has it."""
    _parsed: SSHCertificate

    @classmethod
    def of(cls, key: paramiko.PKey) -> HostCertificate | None:
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
            encoding, form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
            authority = parsed.signature_key().public_bytes(encoding, form).split()[1].decode()
        except (ValueError, UnsupportedAlgorithm):
            return None
        return cls(authority, parsed)

    def check(self, host: str) -> None:
        """Return when the certificate is good for the host now. Raises HostKeyRefused."""
        from cryptography.hazmat.primitives.serialization import SSHCertificateType

        reason = ""
        try:
            self._parsed.verify_cert_signature()
        except InvalidSignature:
            reason = "its signature is wrong"
        names = [name.decode("utf-8", "replace").lower() for name in self._parsed.valid_principals]
        if self._parsed.type != SSHCertificateType.HOST:
            reason = "it is for a user, not for a host"
        elif not any(fnmatch.fnmatchcase(host.lower(), name.replace("[", "[[]")) for name in names):
            reason = f"it is for {', '.join(names) or 'no host'}"
        elif not self._parsed.valid_after <= time.time() < self._parsed.valid_before:
            reason = "it is not in date"
        elif self._parsed.critical_options:
            reason = "it has conditions that are not known"
        if reason:
            raise HostKeyRefused(
                f"the certificate of {host}'s host key is no good: {reason}",
                hint="ask who runs the host to have it signed anew",
            )
