"""Algorithms that the installed `ssh` may be too old to know, and which ssh_config therefore cannot have excluded."""

# In OpenSSH's default list since it has it, release 9.9.
NEWER_KEX = "mlkem768x25519-sha256"
_SNTRUP = "sntrup761x25519-sha512@openssh.com"
_CURVES = (
    *("curve25519-sha256", "curve25519-sha256@libssh.org"),
    *("ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"),
)
_GROUPS = (
    *("diffie-hellman-group-exchange-sha256", "diffie-hellman-group16-sha512"),
    *("diffie-hellman-group18-sha512", "diffie-hellman-group14-sha256"),
)
# KEX_CLIENT in myproposal.h.
_FORMER_DEFAULTS = {
    (*_CURVES, _SNTRUP, *_GROUPS),  # release 8.9
    (_SNTRUP, *_CURVES, *_GROUPS),  # 9.0 to 9.8
    ("sntrup761x25519-sha512", _SNTRUP, *_CURVES, *_GROUPS),  # Debian 12's 9.2
}


def add_newer_kex(printed: str) -> str:
    """KexAlgorithms as `ssh -G` printed it; with NEWER_KEX if it is the default of an `ssh` that does not have that."""
    return f"{NEWER_KEX},{printed}" if tuple(printed.split(",")) in _FORMER_DEFAULTS else printed
