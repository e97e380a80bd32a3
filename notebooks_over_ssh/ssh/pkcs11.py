"""Keys on a PKCS #11 token, such as a smart card, which OpenSSH's programs reach by the token's library."""

import base64
import os
import subprocess
from collections.abc import Iterator
from functools import partial

from notebooks_over_ssh.ssh.hardware_key import HardwareKey
from notebooks_over_ssh.ssh.private_agent import private_agent

FAILURE = "it did not sign: a wrong PIN, or not plugged in"
LIST_TIMEOUT_S = 30.0
KEY_TYPES = ("ssh-rsa ", "ecdsa-sha2-", "ssh-ed25519 ")


def token_keys(library: str) -> Iterator[HardwareKey]:
    """Yield the keys that the token shows without its PIN.

    Raises OSError, TimeoutExpired, or ValueError if there is no key.
    """
    # In a session of its own it has no terminal to ask for the PIN.
    result = subprocess.run(
        ["ssh-keygen", "-D", library],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "SSH_ASKPASS_REQUIRE": "never"},
        start_new_session=True,
        timeout=LIST_TIMEOUT_S,
        check=False,
    )
    keys = [line.split()[1] for line in result.stdout.splitlines() if line.startswith(KEY_TYPES)]
    if not keys:
        raise ValueError(f"it shows no key without its PIN: ssh-add -s {library} adds those with one")
    for base64_key in keys:
        blob = base64.b64decode(base64_key)
        yield HardwareKey(
            blob, partial(_sign, library, blob), failure=FAILURE, pin_owner=f"the token of {library}"
        )


def _sign(library: str, blob: bytes, data: bytes, algorithm: str, pin: str) -> bytes:
    with private_agent(library) as agent:
        agent.add_token(library, pin)
        return agent.sign(blob, data, algorithm)
