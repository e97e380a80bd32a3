"""Security keys without an authenticator: OpenSSH's own test library stands for it, and nobody has to touch it."""

from pathlib import Path

import pytest

from tests.kit.cli import run

# In Debian's package openssh-tests.
DUMMY_PROVIDER = Path("/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so")


def make_security_key(path: Path, kind: str, *options: str, passphrase: str = "") -> str:
    """Create a key of the kind ed25519-sk or ecdsa-sk; returns its public key. `options` are those of ssh-keygen -O."""
    if not DUMMY_PROVIDER.exists():
        pytest.skip("needs sk-dummy.so (openssh-tests)")
    flags = [word for option in options for word in ("-O", option)]
    run("ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-w", DUMMY_PROVIDER, *flags, "-f", path)
    return path.with_suffix(".pub").read_text()
