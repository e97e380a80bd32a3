"""The lines of known_hosts files, as ssh(1) reads them: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT."""

import base64
import fnmatch
import hmac
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from notebooks_over_ssh.errors import HostKeyError
from notebooks_over_ssh.ssh.tokens import TokenContext, expand_tokens

COMMAND_TIMEOUT_S = 30
MAX_COMMAND_OUTPUT_BYTES = 4 * 1024 * 1024
"""How many bytes of its output count."""
BLANKS = " \t"
MARKERS = ("", "@revoked", "@cert-authority")


class KnownHostsEntry(NamedTuple):
    """One key of a known_hosts file and where it stands; `marker` is "", "@revoked" or "@cert-authority"."""

    marker: str
    hosts: str
    key_type: str
    key: str
    location: str


@dataclass(frozen=True)
class KnownHostsCommand:
    """A program that prints more lines for a host (ssh_config(5), KnownHostsCommand)."""

    command: str
    token_context: TokenContext

    def query_host(self, host: str, name: str) -> list[KnownHostsEntry]:
        """What it prints of the host before a key is known; `name` is with the port. Raises HostKeyError."""
        return self._run(name, {"H": host, "I": "ORDER", "K": "NONE", "t": "NONE"})

    def query_key(self, name: str, key_type: str, key: str) -> list[KnownHostsEntry]:
        """What it prints of the host that showed the key (base64). Raises HostKeyError."""
        return self._run(name, {"H": name, "I": "HOSTNAME", "K": key, "t": key_type})

    def _run(self, name: str, tokens: Mapping[str, str]) -> list[KnownHostsEntry]:
        # One that fails ends the connection, as with ssh.
        argv = [expand_tokens(word, self.token_context, tokens) for word in shlex.split(self.command)]
        try:
            result = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise HostKeyError(
                f"the KnownHostsCommand for {name} failed: {error}",
                hint=f"run it yourself to see why: {shlex.join(argv)}",
            ) from error
        return filter_entries(name, _parse(result.stdout[:MAX_COMMAND_OUTPUT_BYTES], argv[0]))


def known_keys(name: str, files: Iterable[Path]) -> list[KnownHostsEntry]:
    """Every line of the files that speaks of `name`: a host, or `[host]:port` where the port is not 22.

    Files that are missing count as empty. Raises HostKeyError for one that cannot be read.
    """
    return [line for file in files for line in filter_entries(name, _parse(_content(file), str(file)))]


def filter_entries(name: str, lines: Iterable[KnownHostsEntry]) -> list[KnownHostsEntry]:
    """The lines that speak of the name and have a key that can be read; ssh skips the others too."""
    return [line for line in lines if _matches(name.lower(), line.hosts) and _is_key(line)]


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        # It may say that a key is revoked.
        raise HostKeyError(
            f"{file} cannot be read: {error.strerror}",
            hint="make it readable, or name other files as UserKnownHostsFile or GlobalKnownHostsFile",
        ) from error


def _parse(content: bytes, source: str) -> Iterator[KnownHostsEntry]:
    # Latin-1 keeps every byte apart, and none of its letters becomes one of ASCII in lower case.
    for number, text in enumerate(content.decode("latin-1").split("\n"), 1):
        fields = re.split(f"[{BLANKS}]+", text.strip(BLANKS))
        marker = fields.pop(0) if fields[0].startswith("@") else ""
        if len(fields) >= 3 and not fields[0].startswith("#") and marker in MARKERS:
            yield KnownHostsEntry(marker, fields[0], fields[1], fields[2].strip("\r"), f"{source}:{number}")


def _is_key(line: KnownHostsEntry) -> bool:
    try:
        load_ssh_public_key(f"{line.key_type} {line.key}".encode("latin-1"))
    except UnsupportedAlgorithm:
        return True
    except ValueError:
        return False
    return True


def _matches(name: str, hosts: str) -> bool:
    if hosts.startswith("|1|"):
        _, _, salt, digest = hosts.split("|", 3)
        try:
            expected = hmac.new(base64.b64decode(salt), name.encode(), "sha1").digest()
            return hmac.compare_digest(expected, base64.b64decode(digest))
        except ValueError:
            return False
    matched = False
    for pattern in hosts.lower().split(","):
        # In known_hosts brackets surround a host that has a port, they are no set of characters.
        glob = pattern.removeprefix("!").replace("[", "[[]")
        if fnmatch.fnmatchcase(name, glob):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched
