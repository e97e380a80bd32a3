"""The key pair with which this machine logs in to the SSH server of a job."""

from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from notebooks_over_ssh import state_files
from notebooks_over_ssh.errors import TaskError

LOCK_TIMEOUT_S = 10


class ClientKey(NamedTuple):
    """The private key's file, and the public key as in authorized_keys."""

    file: Path
    public: str


def client_key() -> ClientKey:
    """The key of this machine, which is made when it is needed first. Raises TaskError."""
    folder = state_files.state_folder("jobs")
    file = folder / "id_ed25519"
    with state_files.acquire(folder / "lock", LOCK_TIMEOUT_S):
        content = state_files.read(file)
        if content is None:
            content = Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            )
            state_files.write(file, content)
    try:
        key = serialization.load_ssh_private_key(content, password=None)
        public = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
    except ValueError as error:
        raise TaskError(f"{file} is not a private key", hint="remove it: another one is made") from error
    return ClientKey(file, public.decode())
