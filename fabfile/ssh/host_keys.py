"""Whether a host is the one that it claims to be: the keys in known_hosts, as sshd(8) describes the file."""

import base64
import fnmatch
import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import paramiko

from fabfile.errors import HostKeyRefused
from fabfile.ssh.asking import Asking


class Line(NamedTuple):
    """One key of a known_hosts file and where it stands."""

    revoked: bool
    hosts: str
    key_type: str
    key: str
    place: str


def known_keys(name: str, files: Iterable[Path]) -> list[Line]:
    """Every line of the files that speaks of `name`: a host, or `[host]:port` where the port is not 22.

    Files that are missing count as empty. Lines that give a certificate authority are not among them.
    """
    return [line for file in files for line in _lines(file) if _matches(name, line.hosts)]


def fingerprint(key: paramiko.PKey) -> str:
    """The key's SHA256 fingerprint, as ssh-keygen(1) shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


class HostKeyPolicy(paramiko.MissingHostKeyPolicy):
    """Accepts a key that known_hosts has for the host, or that the user accepts now; refuses every other.

    `expected` is the key of the machine that a session runs on: it was checked when the session began, perhaps
    under the name of its pool, and is as good as a line of known_hosts.
    Paramiko's own look-up is left empty-handed, for it knows one key of a type for a name, and a pool has many.
    """

    def __init__(
        self, name: str, files: tuple[Path, ...], asking: Asking, expected: str | None = None
    ) -> None:
        self.name = name
        self.files = files
        self.asking = asking
        self.expected = expected
        self.known = known_keys(name, files)

    def preferred(self, offered: Iterable[str]) -> tuple[str, ...]:
        """The algorithms, those first for which a key is known, so that the host shows a key that can be checked."""
        types = {line.key_type for line in self.known if not line.revoked}
        if "ssh-rsa" in types:
            types |= {"rsa-sha2-512", "rsa-sha2-256"}
        return tuple(sorted(offered, key=lambda algorithm: algorithm not in types))

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Return when the key is good; raises HostKeyRefused."""
        shown = key.get_base64()
        for line in self.known:
            if line.revoked and line.key == shown:
                raise HostKeyRefused(
                    f"the host key of {self.name} is marked as revoked ({line.place})",
                    hint="do not log in there; ask who runs the host",
                )
        accepted = [line for line in self.known if not line.revoked]
        if self.expected == shown or any(line.key == shown for line in accepted):
            return
        if accepted or self.expected:
            raise self._changed(key, accepted)
        self._ask(key)

    def _changed(self, key: paramiko.PKey, accepted: list[Line]) -> HostKeyRefused:
        first = accepted[0].place if accepted else "the record of the session"
        places = f"{first} (and {len(accepted) - 1} more)" if len(accepted) > 1 else first
        return HostKeyRefused(
            f"{self.name} showed a host key that is not the one on record: {key.get_name()} {fingerprint(key)}",
            hint="somebody may be listening in, or the host was set up anew, or the pool has a new member: "
            f"ask who runs it for its fingerprint before you change {places}",
        )

    def _ask(self, key: paramiko.PKey) -> None:
        shown = fingerprint(key)
        answer = self.asking.line(
            f"the host key of {self.name} is not known: {key.get_name()} {shown}\n"
            "does your site give this fingerprint for it? [yes/no/the fingerprint]"
        )
        if answer is not None and (answer.lower() == "yes" or answer == shown):
            _remember(self.files[0], self.name, key)
            return
        raise HostKeyRefused(
            f"the host key of {self.name} is not known: {key.get_name()} {shown}",
            hint=f"compare it with what your site gives, then log in once with ssh, or add it to {self.files[0]}",
        )


def _remember(file: Path, name: str, key: paramiko.PKey) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as known_hosts:
        text = known_hosts.read()
        begin = "\n" if text and not text.endswith("\n") else ""
        known_hosts.write(f"{begin}{name} {key.get_name()} {key.get_base64()}\n")


def _lines(file: Path) -> Iterator[Line]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or fields[0].startswith("#") or marker not in ("", "@revoked"):
            continue
        yield Line(bool(marker), fields[0], fields[1], fields[2], f"{file}:{number}")


def _matches(name: str, hosts: str) -> bool:
    if hosts.startswith("|1|"):
        _, _, salt, digest = hosts.split("|", 3)
        try:
            made = hmac.new(base64.b64decode(salt), name.encode(), "sha1").digest()
            return hmac.compare_digest(made, base64.b64decode(digest))
        except ValueError:
            return False
    found = False
    for pattern in hosts.lower().split(","):
        # In known_hosts brackets surround a host that has a port, they are no set of characters.
        glob = pattern.removeprefix("!").replace("[", "[[]")
        if fnmatch.fnmatchcase(name.lower(), glob):
            if pattern.startswith("!"):
                return False
            found = True
    return found
