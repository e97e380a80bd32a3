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
from fabfile.settings import SSH_PORT
from fabfile.ssh.asking import Asking
from fabfile.ssh.client_config import HopConfig
from fabfile.ssh.host_certificate import HostCertificate


class Line(NamedTuple):
    """One key of a known_hosts file and where it stands; `marker` is "", "@revoked" or "@cert-authority"."""

    marker: str
    hosts: str
    key_type: str
    key: str
    place: str


def known_keys(name: str, files: Iterable[Path]) -> list[Line]:
    """Every line of the files that speaks of `name`: a host, or `[host]:port` where the port is not 22.

    Files that are missing count as empty.
    """
    return [line for file in files for line in _lines(file) if _matches(name, line.hosts)]


def fingerprint(key: paramiko.PKey) -> str:
    """The key's SHA256 fingerprint, as ssh-keygen(1) shows it."""
    return _fingerprint_of(key.get_base64())


class HostKeyPolicy(paramiko.MissingHostKeyPolicy):
    """Accepts a key that is known for the hop, or that the user accepts now; refuses every other.

    Known is what known_hosts says, with authorities and revoked keys, and `pins`: the fingerprints that the settings give
    for the hop, which then are the only good ones. `expected` is the key of the machine that a session runs on: it was
    checked when the session began, perhaps under the name of its pool, and is as good as a line of known_hosts.
    Paramiko's own look-up is left empty-handed, for it knows one key of a type for a name, and a pool has many.
    """

    def __init__(
        self, hop: HopConfig, asking: Asking, *, expected: str | None = None, pins: Iterable[str] = ()
    ) -> None:
        self.host = hop.host_key_alias or hop.host
        with_port = hop.port != SSH_PORT and hop.host_key_alias is None
        self.name = f"[{self.host}]:{hop.port}" if with_port else self.host
        self.files = hop.known_hosts
        self.hashes = hop.hashes_known_hosts
        self.accepts_unknown_keys = hop.accepts_unknown_keys
        self.asking = asking
        self.expected = expected
        self.pins = tuple(pins)
        lines = known_keys(self.name, self.files)
        self.known = [line for line in lines if line.marker == ""]
        self.revoked = [line for line in lines if line.marker == "@revoked"]
        self.authorities = [line for line in lines if line.marker == "@cert-authority"]

    def preferred(self, offered: Iterable[str]) -> tuple[str, ...]:
        """The algorithms, those first by which the host shows a key that can be checked."""
        types = {line.key_type for line in self.known}
        if "ssh-rsa" in types:
            types |= {"rsa-sha2-512", "rsa-sha2-256"}
        # Paramiko offers each algorithm's form with a certificate by itself, after the plain ones.
        return tuple(sorted(offered, key=lambda algorithm: algorithm not in types))

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Return when the key is good; raises HostKeyRefused."""
        shown = key.get_base64()
        certificate = HostCertificate.of(key)
        revoked = {line.key: line for line in self.revoked}
        for spent in (shown, certificate.authority if certificate else ""):
            if spent in revoked:
                raise HostKeyRefused(
                    f"the host key of {self.name} is marked as revoked ({revoked[spent].place})",
                    hint="do not log in there; ask who runs the host",
                )
        if self.pins:
            return self._check_pins(key)
        if self.expected == shown or any(line.key == shown for line in self.known):
            return None
        if certificate and any(line.key == certificate.authority for line in self.authorities):
            return certificate.check(self.host)
        if self.known or self.expected:
            raise self._changed(key)
        return self._ask(key)

    def _check_pins(self, key: paramiko.PKey) -> None:
        if fingerprint(key) not in self.pins:
            raise HostKeyRefused(
                f"{self.name} showed a host key that notebook.host_keys does not have: "
                f"{key.get_name()} {fingerprint(key)}",
                hint="somebody may be listening in: ask your site for its fingerprint before you change the setting",
            )

    def _changed(self, key: paramiko.PKey) -> HostKeyRefused:
        first = self.known[0].place if self.known else "the record of the session"
        places = f"{first} (and {len(self.known) - 1} more)" if len(self.known) > 1 else first
        expected = ", ".join(
            f"{line.key_type} {_fingerprint_of(line.key)} ({line.place})" for line in self.known
        )
        members = "; a pool has a key for each member: ssh-keyscan from inside the network, run often, lists them all"
        return HostKeyRefused(
            f"{self.name} showed a host key that is not the one on record: {key.get_name()} {fingerprint(key)}",
            hint="somebody may be listening in, or the host was set up anew, or the pool has a new member: "
            f"ask who runs it for its fingerprint before you change {places}{members if len(self.known) > 1 else ''}",
            detail=(f"expected: {expected}",) if expected else (),
        )

    def _ask(self, key: paramiko.PKey) -> None:
        shown = fingerprint(key)
        if self.accepts_unknown_keys:
            answer = self.asking.line(
                f"the host key of {self.name} is not known: {key.get_name()} {shown}\n"
                "does your site give this fingerprint for it? [yes/no/the fingerprint]"
            )
            if answer is not None and (answer.lower() == "yes" or answer == shown):
                return _remember(self.files[0], _hashed(self.name) if self.hashes else self.name, key)
        raise HostKeyRefused(
            f"the host key of {self.name} is not known: {key.get_name()} {shown}",
            hint=f"compare it with what your site gives, then log in once with ssh, or add it to {self.files[0]}"
            if self.files
            else "compare it with what your site gives, and set it as notebook.host_keys",
        )


def _fingerprint_of(key: str) -> str:
    try:
        digest = hashlib.sha256(base64.b64decode(key)).digest()
    except ValueError:
        return "unreadable"
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _hashed(name: str) -> str:
    salt = os.urandom(20)
    digest = hmac.new(salt, name.encode(), "sha1").digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


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
        if len(fields) < 3 or fields[0].startswith("#") or marker not in ("", "@revoked", "@cert-authority"):
            continue
        yield Line(marker, fields[0], fields[1], fields[2], f"{file}:{number}")


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
