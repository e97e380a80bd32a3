"""RevokedHostKeys of ssh_config(5): a text file with a key a line, or a key revocation list of ssh-keygen(1)."""

import base64
import subprocess
from pathlib import Path

from notebooks_over_ssh.errors import HostKeyError

# PROTOCOL.krl of OpenSSH.
REVOCATION_LIST = b"SSHKRL\n\0"
QUERY_TIMEOUT_S = 30


def check_not_revoked(file: Path, name: str, key: bytes, authority: bytes, public_line: str) -> None:
    """Raise HostKeyError when the file has the key of the host `name`, or that of its certificate's authority.

    `public_line` is the key or the certificate as in a .pub file. A file that cannot be read revokes every key, as for ssh.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise HostKeyError(
            f"RevokedHostKeys {file} cannot be read: {error.strerror}",
            hint="make it readable, or set RevokedHostKeys none",
        ) from error
    if content.startswith(REVOCATION_LIST):
        revoked = _is_in_list(file, public_line)
    else:
        keys = {_key_of(line) for line in content.split(b"\n")}
        revoked = key in keys or (authority != b"" and authority in keys)
    if revoked:
        raise HostKeyError(
            f"the host key of {name} is revoked ({file})", hint="do not log in there; ask who runs the host"
        )


def _is_in_list(file: Path, public_line: str) -> bool:
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
            f"RevokedHostKeys {file} can be read by ssh-keygen alone: {error}",
            hint="install OpenSSH's client",
        ) from error
    # Anything but 0 is a key that is revoked, or a list that cannot be read.
    return result.returncode != 0


def _key_of(line: bytes) -> bytes:
    fields = line.split()
    try:
        return base64.b64decode(fields[1]) if len(fields) > 1 and not line.startswith(b"#") else b""
    except ValueError:
        return b""
