"""Security keys without an authenticator: OpenSSH's own test library stands for it, and nobody has to touch it."""

import sys
from pathlib import Path

import pytest

from tests.kit.cli import run

# In Debian's package openssh-tests.
DUMMY_PROVIDER = Path("/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so")
HELPER = Path("/usr/lib/openssh/ssh-sk-helper")
# A message of ssh-sk-helper (ssh-sk-helper.c) has a length, a version and fields, of which the PIN is the last. The
# reply is an error of ssherr.h (43 is SSH_ERR_KEY_WRONG_PASSPHRASE), or that of the real helper.
HELPER_WITH_PIN = """#!{python}
import struct, subprocess, sys
request = sys.stdin.buffer.read(4)
request += sys.stdin.buffer.read(struct.unpack(">I", request)[0])
with open({log!r}, "a") as log:
    log.write("a request\\n")
if request.endswith(struct.pack(">I", len({pin!r})) + {pin!r}):
    reply = subprocess.run([{helper!r}], input=request, capture_output=True).stdout
else:
    reply = struct.pack(">IBII", 9, request[4], 0, 43)
sys.stdout.buffer.write(reply)
"""


def helper_with_pin(folder: Path, pin: str) -> tuple[Path, Path]:
    """An ssh-sk-helper that signs with this PIN only, as a FIDO authenticator does; and its log of requests."""
    program, log = folder / "ssh-sk-helper", folder / "requests"
    program.write_text(
        HELPER_WITH_PIN.format(python=sys.executable, log=str(log), pin=pin.encode(), helper=str(HELPER))
    )
    program.chmod(0o700)
    return program, log


def make_security_key(path: Path, kind: str, *options: str, passphrase: str = "") -> str:
    """Create a key of the kind ed25519-sk or ecdsa-sk; returns its public key. `options` are those of ssh-keygen -O."""
    if not DUMMY_PROVIDER.exists():
        pytest.skip("needs sk-dummy.so (openssh-tests)")
    flags = [word for option in options for word in ("-O", option)]
    run("ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-w", DUMMY_PROVIDER, *flags, "-f", path)
    return path.with_suffix(".pub").read_text()
