"""Reads known_hosts files, and the output of KnownHostsCommand (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""

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
"""Output beyond this is ignored."""
BLANKS = " \t"
MARKERS = ("", "@revoked", "@cert-authority")


class KnownHostsEntry(NamedTuple):
    """One line of a known_hosts file."""

    marker: str
    """"", "@revoked" or "@cert-authority"."""
    hosts: str
    """Comma-separated patterns, or one hashed name."""
    key_type: str
    key: str
    """The public key, in base64."""
    location: str
    """The file and line number, as `FILE:LINE`."""


@dataclass(frozen=True)
class KnownHostsCommand:
    """A program that prints additional known_hosts lines for a host (KnownHostsCommand in ssh_config(5))."""

    command: str
    token_context: TokenContext

    def query_host(self, host: str, name: str) -> list[KnownHostsEntry]:
        """The entries to order the host key algorithms by; `name` includes the port. Raises HostKeyError."""
        return self._run(name, {"H": host, "I": "ORDER", "K": "NONE", "t": "NONE"})

    def query_key(self, name: str, key_type: str, key: str) -> list[KnownHostsEntry]:
        """The entries for the host that presented the key (base64). Raises HostKeyError."""
        return self._run(name, {"H": name, "I": "HOSTNAME", "K": key, "t": key_type})

    def _run(self, name: str, tokens: Mapping[str, str]) -> list[KnownHostsEntry]:
        # A failure is fatal, as it is for ssh.
        argv = [expand_tokens(word, self.token_context, tokens) for word in shlex.split(self.command)]
        try:
            result = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise HostKeyError(
                f"the KnownHostsCommand for {name} failed: {error}",
                hint=f"run it yourself: {shlex.join(argv)}",
            ) from error
        return filter_entries(name, _parse(result.stdout[:MAX_COMMAND_OUTPUT_BYTES], argv[0]))


def known_keys(name: str, files: Iterable[Path]) -> list[KnownHostsEntry]:
    """The entries for `name`: a host, or `[host]:port` if the port is not 22.

    A missing file counts as empty. Raises HostKeyError if a file cannot be read.
    """
    return [entry for file in files for entry in filter_entries(name, _parse(_read(file), str(file)))]


def filter_entries(name: str, entries: Iterable[KnownHostsEntry]) -> list[KnownHostsEntry]:
    """The entries that match the name and have a valid key; ssh skips invalid lines too."""
    return [entry for entry in entries if _matches(name.lower(), entry.hosts) and _has_valid_key(entry)]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        # Not ignored: the file may revoke a key.
        raise HostKeyError(
            f"{file} cannot be read: {error.strerror}",
            hint="make it readable, or set UserKnownHostsFile or GlobalKnownHostsFile to another file",
        ) from error


def _parse(content: bytes, source: str) -> Iterator[KnownHostsEntry]:
    # Latin-1 decodes any byte, and `lower` turns none of its other letters into an ASCII letter.
    for number, text in enumerate(content.decode("latin-1").split("\n"), 1):
        fields = re.split(f"[{BLANKS}]+", text.strip(BLANKS))
        marker = fields.pop(0) if fields[0].startswith("@") else ""
        if len(fields) >= 3 and not fields[0].startswith("#") and marker in MARKERS:
            yield KnownHostsEntry(marker, fields[0], fields[1], fields[2].strip("\r"), f"{source}:{number}")


def _has_valid_key(entry: KnownHostsEntry) -> bool:
    try:
        load_ssh_public_key(f"{entry.key_type} {entry.key}".encode("latin-1"))
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
        # Brackets enclose a host that has a port; they are not a character class.
        glob = pattern.removeprefix("!").replace("[", "[[]")
        if fnmatch.fnmatchcase(name, glob):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched
