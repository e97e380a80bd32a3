"""The sandbox's keys: one for the user, one for the gateway, one for each host."""

import stat
from pathlib import Path

import asyncssh

from notebooks_over_ssh.sandbox.paths import HOSTS, POOL, SandboxPaths
from notebooks_over_ssh.util.atomic_write import atomic_write


def ensure_key(path: Path) -> asyncssh.SSHKey:
    """Load an ed25519 private key, or generate it (mode 0600) when the file is missing, unreadable or not private."""
    try:
        if not stat.S_IMODE(path.lstat().st_mode) & 0o077:
            return asyncssh.read_private_key(path)
    except (OSError, asyncssh.KeyImportError):
        pass
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = asyncssh.generate_private_key("ssh-ed25519", comment=path.name)
    atomic_write(path, key.export_private_key())
    return key


def write_known_hosts(
    paths: SandboxPaths, port: int, gateway_key: asyncssh.SSHKey, host_keys: dict[str, asyncssh.SSHKey]
) -> None:
    """Write the known_hosts file for the gateway and the hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

    The pool's name is listed with the key of every host in the pool.
    """
    entries = [(f"[127.0.0.1]:{port}", gateway_key)]
    entries += host_keys.items()
    entries += [(POOL, host_keys[host]) for host in HOSTS]
    lines = [f"{name} {' '.join(key.export_public_key().decode().split()[:2])}\n" for name, key in entries]
    atomic_write(paths.known_hosts, "".join(lines).encode())
