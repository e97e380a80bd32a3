"""Whether a host is the one that it claims to be: the keys in known_hosts, as sshd(8) describes the file."""

import base64
import hashlib
import hmac
import logging
import os
import socket
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

import paramiko

from notebooks_over_ssh.config.settings import SSH_PORT
from notebooks_over_ssh.errors import HostKeyError
from notebooks_over_ssh.ssh.client_config import HopConfig
from notebooks_over_ssh.ssh.host_certificate import HostCertificate
from notebooks_over_ssh.ssh.known_hosts import KnownHostsEntry, known_keys
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from notebooks_over_ssh.ssh.revoked_keys import check_not_revoked
from notebooks_over_ssh.util.command_hint import command

_log = logging.getLogger(__name__)


def fingerprint(key: paramiko.PKey) -> str:
    """The key's SHA256 fingerprint, as ssh-keygen(1) shows it."""
    return _fingerprint_of(key.get_base64())


class Machine(NamedTuple):
    """The one machine that a destination must lead to: its own name, and its host key (base64) as it was recorded."""

    name: str
    host_key: str


class WrongMachineError(HostKeyError):
    """A machine that is known, and is not the one that was wanted: a pool led to another member."""


class HostKeyPolicy(paramiko.MissingHostKeyPolicy):
    """Accepts a key that is known for the hop, or that the user accepts now; refuses every other.

    Known is what known_hosts says, with authorities and revoked keys. `pins` are the fingerprints that the settings give for
    the hop, a set for each of its names; then a key that all of them have is the only good one.
    `machine` is the one that a session runs on, and `requested_hop` the hop that the user named, where this one is the machine's
    own name. The recorded key was checked when the session began, so it counts where known_hosts speaks of neither, and never
    against known_hosts. A good key that is not the recorded one is another machine, unless known_hosts has it for the
    machine's own name: then the host has been given a new key.
    Paramiko's own look-up is left empty-handed, for it knows one key of a type for a name, and a pool has many.
    """

    def __init__(
        self,
        hop: HopConfig,
        credentials: CredentialPrompter,
        *,
        machine: Machine | None = None,
        requested_hop: HopConfig | None = None,
        pins: Sequence[Iterable[str]] = (),
    ) -> None:
        self.hop = hop
        self.host = hop.host_key_alias or hop.host
        self.name = _known_hosts_name(hop)
        self.credentials = credentials
        self.machine = machine
        self.pins = [frozenset(pinned) for pinned in pins]
        entries = self._load_entries(hop)
        self.has_own_entries = any(entry.marker != "@revoked" for entry in entries)
        if requested_hop and not self.has_own_entries:
            entries += self._load_entries(requested_hop)
        self._classify(entries)

    def _classify(self, entries: Sequence[KnownHostsEntry]) -> None:
        self.entries = entries
        self.known_entries = [entry for entry in entries if entry.marker == ""]
        self.revoked = [entry for entry in entries if entry.marker == "@revoked"]
        self.authorities = [entry for entry in entries if entry.marker == "@cert-authority"]

    def _load_entries(self, hop: HopConfig) -> list[KnownHostsEntry]:
        entries = known_keys(_known_hosts_name(hop), (*hop.known_hosts, *hop.global_known_hosts))
        if hop.known_hosts_command:
            entries += hop.known_hosts_command.query_host(
                hop.host_key_alias or hop.host, _known_hosts_name(hop)
            )
        return entries

    def order_algorithms(self, offered: Iterable[str]) -> tuple[str, ...]:
        """The algorithms, those first by which the host shows a key that can be checked."""
        types = {entry.key_type for entry in self.known_entries}
        if "ssh-rsa" in types:
            types |= {"rsa-sha2-512", "rsa-sha2-256"}
        # Paramiko offers each algorithm's form with a certificate by itself, after the plain ones.
        return tuple(sorted(offered, key=lambda algorithm: algorithm not in types))

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Return when the key is good; raises HostKeyError."""
        presented = key.get_base64()
        _log.debug("%s: host key %s %s", self.name, key.get_name(), fingerprint(key))
        certificate = HostCertificate.from_key(key)
        if self.hop.known_hosts_command:
            extra = self.hop.known_hosts_command.query_key(self.name, key.get_name(), presented)
            self._classify((*self.entries, *extra))
        self._reject_weak_and_revoked(key, certificate)
        if self.hop.checks_address and not self.pins and certificate is None:
            self._check_address(_peer_address(client), key)
        if self.pins:
            self._check_pins(key)
        elif any(entry.key == presented for entry in self.known_entries):
            pass
        elif certificate and any(entry.key == certificate.authority for entry in self.authorities):
            certificate.verify(self.host, self.hop.ca_signature_algorithms, self.hop.required_rsa_size)
        elif self.known_entries or (self.machine and self.machine.host_key != presented):
            raise self._mismatch_error(key)
        elif self.machine is None:
            return self._ask(key)
        return self._check_machine(presented)

    def _reject_weak_and_revoked(self, key: paramiko.PKey, certificate: HostCertificate | None) -> None:
        if key.get_name() == "ssh-rsa" and key.get_bits() < self.hop.required_rsa_size:
            raise HostKeyError(
                f"the host key of {self.name} has {key.get_bits()} bits, and RequiredRSASize is {self.hop.required_rsa_size}",
                hint="ask who runs the host for a longer key, or for one of another kind",
            )
        authority = certificate.authority if certificate else ""
        revoked = {entry.key: entry for entry in self.revoked}
        for revoked_key in (key.get_base64(), authority):
            if revoked_key in revoked:
                raise HostKeyError(
                    f"the host key of {self.name} is marked as revoked ({revoked[revoked_key].location})",
                    hint="do not log in there; ask who runs the host",
                )
        if self.hop.revoked_host_keys:
            public = certificate.public_line if certificate else f"{key.get_name()} {key.get_base64()}"
            check_not_revoked(
                self.hop.revoked_host_keys, self.name, key.asbytes(), base64.b64decode(authority), public
            )

    def _check_machine(self, presented: str) -> None:
        machine = self.machine
        if machine is None or machine.host_key == presented:
            return
        if machine.name.lower() != self.host.lower() or not (self.has_own_entries or self.pins):
            raise WrongMachineError(
                f"{self.name} led to another machine than {machine.name}",
                hint=f"if the host was given a new key, {command('serve')} puts it on record",
            )

    def _check_address(self, address: str, key: paramiko.PKey) -> None:
        """What ssh does with CheckHostIP: an address of which known_hosts has another key is asked about, or refused."""
        name = _with_port(address, self.hop.port)
        entries = known_keys(name, (*self.hop.known_hosts, *self.hop.global_known_hosts)) if address else []
        presented, kind = key.get_base64(), key.get_name()
        revoked = [entry for entry in entries if entry.marker == "@revoked" and entry.key == presented]
        known_entries = [entry for entry in entries if entry.marker == "" and entry.key_type == kind]
        if not revoked and (not known_entries or any(entry.key == presented for entry in known_entries)):
            return
        what = f"the host key that {self.name} showed is not that of its address {address} ({(revoked or known_entries)[0].location})"
        if not revoked and self.hop.ask_unknown_host_keys:
            answer = self.credentials.ask(f"{what}\nconnect all the same? [yes/no]")
            if (answer or "").lower() == "yes":
                return
        raise HostKeyError(
            what,
            hint="somebody may be listening in, or the address was another host's before: ask who runs it; "
            f"ssh-keygen -R '{name}' forgets the address",
        )

    def _check_pins(self, key: paramiko.PKey) -> None:
        if not all(fingerprint(key) in pinned for pinned in self.pins):
            raise HostKeyError(
                f"{self.name} showed a host key that ssh.host_keys does not have: "
                f"{key.get_name()} {fingerprint(key)}",
                hint="somebody may be listening in: ask your site for its fingerprint before you change the setting",
            )

    def _mismatch_error(self, key: paramiko.PKey) -> HostKeyError:
        first = self.known_entries[0].location if self.known_entries else "the record of the session"
        locations = (
            f"{first} (and {len(self.known_entries) - 1} more)" if len(self.known_entries) > 1 else first
        )
        expected = ", ".join(
            f"{entry.key_type} {_fingerprint_of(entry.key)} ({entry.location})"
            for entry in self.known_entries
        )
        if not self.known_entries:
            locations = f"known_hosts; then {command('serve')} puts the key on record"
        members = "; a pool has a key for each member: ssh-keyscan from inside the network, run often, lists them all"
        return HostKeyError(
            f"{self.name} showed a host key that is not the one on record: {key.get_name()} {fingerprint(key)}",
            hint="somebody may be listening in, or the host was set up anew, or the pool has a new member: "
            f"ask who runs it for its fingerprint before you change {locations}{members if len(self.known_entries) > 1 else ''}",
            detail=(f"expected: {expected}",) if expected else (),
        )

    def _ask(self, key: paramiko.PKey) -> None:
        presented = fingerprint(key)
        files = self.hop.known_hosts
        if self.hop.ask_unknown_host_keys:
            answer = self.credentials.ask(
                f"the host key of {self.name} is not known: {key.get_name()} {presented}\n"
                "does your site give this fingerprint for it? [yes/no/the fingerprint]"
            )
            if answer is not None and (answer.lower() == "yes" or answer == presented):
                # With `UserKnownHostsFile none` ssh writes it nowhere either.
                for file in files[:1]:
                    _append(file, _hash_name(self.name) if self.hop.hash_known_hosts else self.name, key)
                return
        raise HostKeyError(
            f"the host key of {self.name} is not known: {key.get_name()} {presented}",
            hint=f"compare it with what your site gives, then log in once with ssh, or add it to {files[0]}"
            if files
            else "compare it with what your site gives, and set it as ssh.host_keys",
        )


def _known_hosts_name(hop: HopConfig) -> str:
    """What known_hosts calls the hop; ssh looks for it in lower case."""
    if hop.host_key_alias:
        return hop.host_key_alias
    return _with_port(hop.host, hop.port)


def _with_port(host: str, port: int) -> str:
    return host if port == SSH_PORT else f"[{host}]:{port}"


def _peer_address(client: paramiko.SSHClient) -> str:
    """The hop's address where it is reached by TCP itself; "" for one on this machine, which ssh does not look up either."""
    transport: Any = client.get_transport()
    source = getattr(transport, "sock", None)
    if not isinstance(source, socket.socket) or source.family not in (socket.AF_INET, socket.AF_INET6):
        return ""
    address = str(source.getpeername()[0])
    return "" if ip_address(address.partition("%")[0]).is_loopback else address


def _fingerprint_of(key: str) -> str:
    try:
        digest = hashlib.sha256(base64.b64decode(key)).digest()
    except ValueError:
        return "unreadable"
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _hash_name(name: str) -> str:
    salt = os.urandom(20)
    digest = hmac.new(salt, name.encode(), "sha1").digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def _append(file: Path, name: str, key: paramiko.PKey) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as known_hosts:
        text = known_hosts.read()
        begin = "\n" if text and not text.endswith("\n") else ""
        known_hosts.write(f"{begin}{name} {key.get_name()} {key.get_base64()}\n")
