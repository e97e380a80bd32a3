"""The post-quantum key exchange that an older `ssh` does not know."""

import pytest

from notebooks_over_ssh.ssh.newer_algorithms import NEWER_KEX, add_newer_kex

SNTRUP = "sntrup761x25519-sha512@openssh.com"
CURVES = (
    "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521"
)
GROUPS = (
    "diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512,"
    "diffie-hellman-group18-sha512,diffie-hellman-group14-sha256"
)


@pytest.mark.parametrize(
    "default",
    [
        f"{CURVES},{SNTRUP},{GROUPS}",
        f"{SNTRUP},{CURVES},{GROUPS}",
        f"sntrup761x25519-sha512,{SNTRUP},{CURVES},{GROUPS}",
    ],
    ids=["8.9", "9.0", "Debian's 9.2"],
)
def test_default(default: str) -> None:
    """The default list of a release that is older than the algorithm gets it, first."""
    assert add_newer_kex(default) == f"{NEWER_KEX},{default}"


@pytest.mark.parametrize(
    "configured",
    [
        f"{CURVES},{GROUPS}",
        f"{SNTRUP},{CURVES}",
        f"{GROUPS},{SNTRUP},{CURVES}",
        f"{SNTRUP},{NEWER_KEX},{CURVES},{GROUPS}",
        f"{NEWER_KEX},{SNTRUP},{CURVES},{GROUPS}",
        "curve25519-sha256",
        "",
    ],
)
def test_configured(configured: str) -> None:
    """Any other list is the user's, or has the algorithm, and stays as it is."""
    assert add_newer_kex(configured) == configured
