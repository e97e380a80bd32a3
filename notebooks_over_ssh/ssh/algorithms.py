"""The algorithms that are offered to a server (RFC 4253, section 6.3 to 6.6 and 7), in order of preference, and no others.

Nothing that rests on SHA-1, MD5, CBC, 64-bit blocks or a group below 2048 bits: OpenSSH's client offers none of it either.
"""

import re
from collections.abc import Iterable
from typing import Any

import paramiko
from paramiko.kex_curve25519 import KexCurve25519
from paramiko.kex_gex import KexGexSHA256
from paramiko.kex_mlkem import KexMLKEM768X25519
from paramiko.ssh_exception import IncompatiblePeer

# AES-GCM first: it needs no separate MAC and runs in hardware. Paramiko has no chacha20-poly1305.
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
KEYS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
KEX = (
    # cryptography has ML-KEM where its OpenSSL does.
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


# Its stubs know little of this class.
_KexGexSHA256: Any = KexGexSHA256


class GroupExchange(_KexGexSHA256):  # type: ignore[misc] # as above
    """Diffie-Hellman in a group that the server chooses (RFC 4419), of a size that is still safe."""

    def _parse_kexdh_gex_group(self, message: paramiko.Message) -> None:
        prime = message.get_mpint()
        message.rewind()
        if prime.bit_length() < MIN_PRIME_BITS:
            raise paramiko.SSHException(
                f"it chose a group of {prime.bit_length()} bits for the exchange of keys"
            )
        super()._parse_kexdh_gex_group(message)


# RFC 8731 gave the method a name of its own; it is the same as libssh's.
EXTRA_KEX = {
    "curve25519-sha256": KexCurve25519,
    "diffie-hellman-group-exchange-sha256": GroupExchange,
}


class NoCommonAlgorithm(IncompatiblePeer):
    """The server and this program share no algorithm of one kind; `offered` and `supported` are what each of them has."""

    def __init__(self, kind: str, offered: Iterable[str], supported: Iterable[str]) -> None:
        names = [name for name in offered if NAME.fullmatch(name)]
        ellipsis = ", …" if len(names) > MAX_NAMES_SHOWN else ""
        self.kind = kind
        self.offered = (", ".join(names[:MAX_NAMES_SHOWN]) or "none") + ellipsis
        self.supported = ", ".join(supported)
        super().__init__(f"no {kind} in common: it offers {self.offered}; offered to it: {self.supported}")
