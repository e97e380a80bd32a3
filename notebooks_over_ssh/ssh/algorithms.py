"""The algorithms to offer (RFC 4253, sections 6.3 to 6.6 and 7), in order of preference.

None uses SHA-1, MD5, CBC, 64-bit blocks or a group below 2048 bits; OpenSSH's client does not offer these either.
"""

import re
from collections.abc import Iterable
from typing import Any

import paramiko
from paramiko.kex_curve25519 import KexCurve25519
from paramiko.kex_gex import KexGexSHA256
from paramiko.kex_mlkem import KexMLKEM768X25519
from paramiko.ssh_exception import IncompatiblePeer

from notebooks_over_ssh.ssh.protocol.packet_encryption import CHACHA_PADDING_BYTES, ChaChaCipher
from notebooks_over_ssh.ssh.security_keys import SECURITY_KEY_TYPES
from notebooks_over_ssh.util.cpu import has_aes_instructions

CHACHA20_POLY1305 = "chacha20-poly1305@openssh.com"
AES_GCM = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
# OpenSSH's order, except that AES-GCM comes first if this machine's processor accelerates it. The server's is unknown.
AEAD_CIPHERS = (*AES_GCM, CHACHA20_POLY1305) if has_aes_instructions() else (CHACHA20_POLY1305, *AES_GCM)
CIPHERS = (*AEAD_CIPHERS, "aes128-ctr", "aes192-ctr", "aes256-ctr")
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
KEYS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
# A security key is no host key.
USER_KEYS = (*KEYS, *SECURITY_KEY_TYPES)
KEX = (
    # Depends on the OpenSSL that cryptography was built with.
    *(("mlkem768x25519-sha256",) if KexMLKEM768X25519.is_available() else ()),
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group14-sha256",
)
MIN_PRIME_BITS = 2048
# RFC 4250, section 4.6.1: names are of printable US-ASCII, at most 64 characters, without a comma.
NAME = re.compile(r"[!-+\--~]{1,64}")
MAX_NAMES_SHOWN = 8


# The stubs omit most of this class.
_KexGexSHA256: Any = KexGexSHA256


class GroupExchange(_KexGexSHA256):  # type: ignore[misc] # as above
    """Diffie-Hellman with a group that the server chooses (RFC 4419), of at least MIN_PRIME_BITS."""

    def _parse_kexdh_gex_group(self, message: paramiko.Message) -> None:
        prime = message.get_mpint()
        message.rewind()
        if prime.bit_length() < MIN_PRIME_BITS:
            raise paramiko.SSHException(
                f"the server chose a Diffie-Hellman group of {prime.bit_length()} bits"
            )
        super()._parse_kexdh_gex_group(message)


# The name that RFC 8731 assigned; Paramiko has the method under libssh's name only.
EXTRA_KEX = {
    "curve25519-sha256": KexCurve25519,
    "diffie-hellman-group-exchange-sha256": GroupExchange,
}
# PROTOCOL.chacha20poly1305: "requires 512 bits of key material", and its packets are padded to eight bytes.
EXTRA_CIPHERS: dict[str, dict[str, Any]] = {
    CHACHA20_POLY1305: {
        "class": ChaChaCipher,
        "is_aead": True,
        "key-size": 64,
        "iv-size": 0,
        "block-size": CHACHA_PADDING_BYTES,
    }
}


class NoCommonAlgorithm(IncompatiblePeer):
    """The peers have no algorithm of one kind in common.

    `offered` are the server's algorithms, `supported` those of this program.
    """

    def __init__(self, kind: str, offered: Iterable[str], supported: Iterable[str]) -> None:
        names = [name for name in offered if NAME.fullmatch(name)]
        ellipsis = ", …" if len(names) > MAX_NAMES_SHOWN else ""
        self.kind = kind
        self.offered = (", ".join(names[:MAX_NAMES_SHOWN]) or "none") + ellipsis
        self.supported = ", ".join(supported)
        super().__init__(f"no common {kind}: the server offers {self.offered}, this program {self.supported}")
