"""A PKCS #11 token in software (SoftHSM)."""

from pathlib import Path

import pytest

from tests.kit.cli import run

# In Debian's package softhsm2.
LIBRARY = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "271828"


def make_token(folder: Path, patch: pytest.MonkeyPatch, *kinds: str) -> list[str]:
    """Create a token in the folder with a key of each kind of ssh-keygen; returns their public keys."""
    if not LIBRARY.exists():
        pytest.skip("needs libsofthsm2.so (softhsm2)")
    tokens = folder / "tokens"
    tokens.mkdir(parents=True)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tokens}\nlog.level = ERROR\n")
    patch.setenv("SOFTHSM2_CONF", str(configuration))
    pins = ("--pin", PIN)
    run("softhsm2-util", "--init-token", "--free", "--label", "test", "--so-pin", PIN, *pins)
    public_keys = []
    for number, kind in enumerate(kinds, 1):
        key = folder / f"{kind}_{number}"
        run("ssh-keygen", "-q", "-t", kind, "-m", "PKCS8", "-N", "", "-f", key)
        label = ("--label", kind, "--id", f"{number:02}")
        run("softhsm2-util", "--import", key, "--token", "test", *label, *pins)
        key.unlink()
        public_keys.append(key.with_suffix(".pub").read_text())
    return public_keys
