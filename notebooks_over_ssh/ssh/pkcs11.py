"""Keys on a PKCS #11 token, such as a smart card, which OpenSSH's programs reach by the token's library."""

import base64
import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial

from notebooks_over_ssh.ssh.hardware_key import HardwareKey, NotSignedError
from notebooks_over_ssh.ssh.private_agent import private_agent

FAILURE = "the token did not sign: a wrong PIN, or not plugged in"
LIST_TIMEOUT_S = 30.0
KEY_TYPES = ("ssh-rsa ", "ecdsa-sha2-", "ssh-ed25519 ")
AskPIN = Callable[[], str | None]


def token_keys(library: str, ask_pin: AskPIN, forget_pin: Callable[[], object]) -> Iterator[HardwareKey]:
    """Yield the keys that the token shows without its PIN, which is asked for at each signature.

    `ask_pin` returns None if the user cannot be asked. After a failure `forget_pin` is called, so that no wrong PIN
    is sent a second time: a token blocks itself after a few. Raises OSError, TimeoutExpired, or ValueError if there
    is no key.
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
        sign = partial(_sign, library, ask_pin, forget_pin, blob)
        yield HardwareKey(blob, sign, requires_touch=False, failure=FAILURE)


def _sign(
    library: str,
    ask_pin: AskPIN,
    forget_pin: Callable[[], object],
    blob: bytes,
    data: bytes,
    algorithm: str,
) -> bytes:
    pin = ask_pin()
    if pin is None:
        raise NotSignedError("there is no terminal to ask for its PIN")
    try:
        with private_agent(library) as agent:
            agent.add_token(library, pin)
            return agent.sign(blob, data, algorithm)
    except Exception:
        forget_pin()
        raise
