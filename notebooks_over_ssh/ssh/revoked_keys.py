"""RevokedHostKeys (ssh_config(5)): a text file with one key per line, or a KRL of ssh-keygen(1)."""

import base64
import subprocess
from pathlib import Path

from notebooks_over_ssh.errors import HostKeyError

KRL_MAGIC = b"SSHKRL\n\0"  # OpenSSH PROTOCOL.krl
QUERY_TIMEOUT_S = 30


def check_not_revoked(file: Path, name: str, key: bytes, authority: bytes, public_line: str) -> None:
    """Raise HostKeyError if the file revokes the key of the host `name`, or of the authority that signed its
    certificate.

    `key` and `authority` are in wire format; `authority` is b"" without a certificate. `public_line` is the key or the
    certificate as in a .pub file. A file that cannot be read revokes every key, as it does for ssh.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise HostKeyError(
            f"RevokedHostKeys {file} cannot be read: {error.strerror}",
            hint="make it readable, or set RevokedHostKeys none",
        ) from error
    if content.startswith(KRL_MAGIC):
        is_revoked = _is_in_krl(file, public_line)
    else:
        keys = {_key_of(line) for line in content.split(b"\n")}
        is_revoked = key in keys or (authority != b"" and authority in keys)
    if is_revoked:
        raise revoked_error(name, str(file))


def revoked_error(name: str, location: str) -> HostKeyError:
    """The error for a revoked host key; `location` is the file, or the line of it, that revokes the key."""
    return HostKeyError(
        f"the host key of {name} is revoked ({location})",
        hint="do not log in; ask the host's administrators for the new key",
    )


def _is_in_krl(file: Path, public_line: str) -> bool:
    try:
        result = subprocess.run(
            ["ssh-keygen", "-Q", "-f", str(file), "/dev/stdin"],
            input=f"{public_line}\n".encode(),
            capture_output=True,
            timeout=QUERY_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise HostKeyError(
            f"RevokedHostKeys {file} is a KRL, and ssh-keygen cannot read it: {error}",
            hint="install OpenSSH's client",
        ) from error
    # Any status but 0 means that the key is revoked or the KRL is unreadable.
    return result.returncode != 0


def _key_of(line: bytes) -> bytes:
    fields = line.split()
    try:
        return base64.b64decode(fields[1]) if len(fields) > 1 and not line.startswith(b"#") else b""
    except ValueError:
        return b""
