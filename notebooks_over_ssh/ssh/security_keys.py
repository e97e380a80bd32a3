"""Keys on a FIDO authenticator (OpenSSH PROTOCOL.u2f), which signs only after its owner has touched it.

Their files have no private key, but a handle that is of use only with the authenticator.
"""

import base64
import re
from functools import partial
from pathlib import Path
from typing import Any

import paramiko
from paramiko.agent import AgentKey

from notebooks_over_ssh.ssh.hardware_key import HardwareKey
from notebooks_over_ssh.ssh.private_agent import library_path, private_agent

ED25519, ECDSA = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"
SECURITY_KEY_TYPES = (ED25519, ECDSA)
CERTIFICATE_TYPES = tuple(name.replace("@", "-cert-v01@") for name in SECURITY_KEY_TYPES)
FAILURE = "not touched in time or not plugged in"
FAILURE_WITH_PIN = f"it did not sign: a wrong PIN, {FAILURE}"
# sk-api.h in OpenSSH.
USER_PRESENCE_REQUIRED = 0x01
USER_VERIFICATION_REQUIRED = 0x04
# PROTOCOL.key in OpenSSH.
MAGIC = b"openssh-key-v1\0"
KEY_FILE = re.compile(
    rb"-----BEGIN OPENSSH PRIVATE KEY-----\s(.*)-----END OPENSSH PRIVATE KEY-----", re.DOTALL
)


def is_security_key(name: str) -> bool:
    """Whether a key of this type, which may be that of a certificate, is on an authenticator."""
    return name in SECURITY_KEY_TYPES or name in CERTIFICATE_TYPES


def agent_security_key(key: AgentKey) -> HardwareKey:
    """A security key, or a certificate for one, that the user's agent has."""
    ours: Any = key  # the stubs have a Message for the bytes

    def sign(data: bytes, algorithm: str, pin: str) -> bytes:
        signature: bytes = ours.sign_ssh_data(data, algorithm)
        return signature

    # The agent asks for a PIN itself. It does not tell whether the key requires a touch.
    return HardwareKey(key.blob, sign, requires_touch=True, failure=FAILURE)


def read_security_key(file: Path, data: bytes, passphrase: bytes | None, provider: str) -> HardwareKey | None:
    """The security key in the file, whose contents are `data`; None if it has another key.

    `provider` reaches the authenticator (SecurityKeyProvider in ssh_config(5)): a library, a variable that names one,
    or "internal", the one that OpenSSH was built with.
    Raises as `read_key` does.
    """
    match = KEY_FILE.search(data)
    decoded = base64.b64decode(match[1]) if match else b""
    if not match or not decoded.startswith(MAGIC):
        return None
    header = paramiko.Message(decoded.removeprefix(MAGIC))
    for _ in range(3):
        header.get_binary()  # cipher, key derivation function and its options
    blob = header.get_binary() if header.get_int() == 1 else b""
    name = paramiko.Message(blob).get_text()
    if name not in SECURITY_KEY_TYPES:
        return None
    # In the encoding of the agent's messages, which has the type before it, and the comment after it.
    reader: Any = paramiko.PKey()  # the stubs omit this method
    private = reader._read_private_key_openssh([match[1].decode("ascii")], passphrase)
    flags = _flags(name, private)
    typed = paramiko.Message()
    typed.add_string(name)
    typed.add_bytes(private)
    return HardwareKey(
        blob,
        partial(_sign, blob, typed.asbytes(), provider),
        failure=FAILURE_WITH_PIN if flags & USER_VERIFICATION_REQUIRED else FAILURE,
        requires_touch=bool(flags & USER_PRESENCE_REQUIRED),
        pin_owner=f"the security key {file}" if flags & USER_VERIFICATION_REQUIRED else "",
    )


def _flags(name: str, private: bytes) -> int:
    message = paramiko.Message(private)
    for _ in range(3 if name == ECDSA else 2):
        message.get_binary()  # the curve, the public key, the application
    return message.get_byte()[0]


def _sign(blob: bytes, private: bytes, provider: str, data: bytes, algorithm: str, pin: str) -> bytes:
    provider = library_path(provider) or "internal"
    with private_agent(provider, pin) as agent:
        agent.add_security_key(private, provider)
        return agent.sign(blob, data, algorithm)
