"""Host key verification, with known_hosts files, pinned fingerprints and the key recorded for a session."""

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
from notebooks_over_ssh.ssh.revoked_keys import check_not_revoked, revoked_error
from notebooks_over_ssh.util.command_hint import command

_log = logging.getLogger(__name__)


def fingerprint(key: paramiko.PKey) -> str:
    """The key's SHA256 fingerprint, in the format of ssh-keygen(1)."""
    return _fingerprint_of(key.get_base64())


class Machine(NamedTuple):
    """The only machine that a destination may resolve to: its own name, and the host key (base64) recorded for it."""

    name: str
    host_key: str


class WrongMachineError(HostKeyError):
    """The host key is valid, but belongs to another machine, such as another member of a pool."""


class HostKeyPolicy(paramiko.MissingHostKeyPolicy):
    """Accepts a host key that known_hosts or the user confirms, and rejects every other.

    Paramiko's `HostKeys` stays empty, because it has one key of each type for a name, and a pool has many. So Paramiko
    calls `missing_host_key` for every key.
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
        """Load the known_hosts entries for the hop. Raises HostKeyError if they cannot be read.

        `machine` is the machine of a session. Its recorded key, which was verified when the session began, is
        accepted if known_hosts has no entry for the hop; it never overrides known_hosts. Any other valid key raises
        WrongMachineError, unless known_hosts has that key under the machine's own name: then the host has been given a
        new key.
        `requested_hop` is the hop that the user named, if `hop` is the same machine under its own name; its entries are
        used if known_hosts has none for `hop`.
        `pins` are the fingerprints in ssh.host_keys, one set for each name of the hop. If there are any, only a key
        whose fingerprint is in all of them is accepted.
        """
        self.hop = hop
        self.host = hop.host_key_alias or hop.host
        self.name = _known_hosts_name(hop)
        self.credentials = credentials
        self.machine = machine
        self.pins = [frozenset(fingerprints) for fingerprints in pins]
        entries = self._load_entries(hop)
        self.has_own_entries = any(entry.marker != "@revoked" for entry in entries)
        if requested_hop and not self.has_own_entries:
            entries += self._load_entries(requested_hop)
        self._classify(entries)

    def _classify(self, entries: Sequence[KnownHostsEntry]) -> None:
        self.entries = entries
        self.known_entries = [entry for entry in entries if entry.marker == ""]
        self.revoked_entries = [entry for entry in entries if entry.marker == "@revoked"]
        self.authority_entries = [entry for entry in entries if entry.marker == "@cert-authority"]

    def _load_entries(self, hop: HopConfig) -> list[KnownHostsEntry]:
        entries = known_keys(_known_hosts_name(hop), (*hop.known_hosts, *hop.global_known_hosts))
        if hop.known_hosts_command:
            entries += hop.known_hosts_command.query_host(
                hop.host_key_alias or hop.host, _known_hosts_name(hop)
            )
        return entries

    def order_algorithms(self, algorithms: Iterable[str]) -> tuple[str, ...]:
        """The host key algorithms, those first for which known_hosts has a key."""
        types = {entry.key_type for entry in self.known_entries}
        if "ssh-rsa" in types:
            types |= {"rsa-sha2-512", "rsa-sha2-256"}
        # Paramiko adds the certificate algorithms itself, after these.
        return tuple(sorted(algorithms, key=lambda algorithm: algorithm not in types))

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Verify the host key; asks the user about an unknown one. Raises HostKeyError."""
        presented = key.get_base64()
        _log.debug("%s: host key %s %s", self.name, key.get_name(), fingerprint(key))
        certificate = HostCertificate.from_key(key)
        if self.hop.known_hosts_command:
            extra = self.hop.known_hosts_command.query_key(self.name, key.get_name(), presented)
            self._classify((*self.entries, *extra))
        self._reject_weak_and_revoked(key, certificate)
        if self.hop.check_host_ip and not self.pins and certificate is None:
            self._check_address(_peer_address(client), key)
        if self.pins:
            self._check_pins(key)
        elif any(entry.key == presented for entry in self.known_entries):
            pass
        elif certificate and any(entry.key == certificate.authority for entry in self.authority_entries):
            certificate.verify(self.host, self.hop.ca_signature_algorithms, self.hop.required_rsa_size)
        elif self.known_entries or (self.machine and self.machine.host_key != presented):
            raise self._mismatch_error(key)
        elif self.machine is None:
            return self._ask(key)
        return self._check_machine(presented)

    def _reject_weak_and_revoked(self, key: paramiko.PKey, certificate: HostCertificate | None) -> None:
        if key.get_name() == "ssh-rsa" and key.get_bits() < self.hop.required_rsa_size:
            raise HostKeyError(
                f"the RSA host key of {self.name} has {key.get_bits()} bits, "
                f"but RequiredRSASize is {self.hop.required_rsa_size}",
                hint="ask the host's administrators for a longer key",
            )
        authority = certificate.authority if certificate else ""
        for entry in self.revoked_entries:
            if entry.key in (key.get_base64(), authority):
                raise revoked_error(self.name, entry.location)
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
                f"the host key of {self.name} is valid, but is not the one recorded for {machine.name}",
                hint=f"if {machine.name} has a new host key, record it with {command('serve')}",
            )

    def _check_address(self, address: str, key: paramiko.PKey) -> None:
        """Apply CheckHostIP: the user must confirm a key that differs from the key of the address in known_hosts."""
        if not address:
            return
        name = _with_port(address, self.hop.port)
        entries = known_keys(name, (*self.hop.known_hosts, *self.hop.global_known_hosts))
        presented, key_type = key.get_base64(), key.get_name()
        for entry in entries:
            if entry.marker == "@revoked" and entry.key == presented:
                raise revoked_error(address, entry.location)
        expected = [entry for entry in entries if entry.marker == "" and entry.key_type == key_type]
        if not expected or any(entry.key == presented for entry in expected):
            return
        difference = (
            f"the host key of {self.name} differs from the key for its address {address} "
            f"({expected[0].location})"
        )
        if self.hop.ask_unknown_host_keys:
            answer = self.credentials.ask(f"{difference}\nare you sure you want to continue? [yes/no]")
            if (answer or "").lower() == "yes":
                return
        raise HostKeyError(
            difference,
            hint="ask the host's administrators whether the address was reassigned; "
            f"if it was, remove the old key: ssh-keygen -R '{name}'",
        )

    def _check_pins(self, key: paramiko.PKey) -> None:
        if not all(fingerprint(key) in fingerprints for fingerprints in self.pins):
            raise HostKeyError(
                f"the host key of {self.name} does not match ssh.host_keys: {key.get_name()} {fingerprint(key)}",
                hint="ask your site for its fingerprint before you change the setting: "
                "somebody may be intercepting the connection",
            )

    def _mismatch_error(self, key: paramiko.PKey) -> HostKeyError:
        presented = f"{key.get_name()} {fingerprint(key)}"
        if not self.known_entries:
            return HostKeyError(
                f"the host key of {self.name} does not match the one recorded for the session: {presented}",
                hint="if the host's administrators confirm this fingerprint, "
                f"add the key to known_hosts and run {command('serve')}",
            )
        first, *others = (entry.location for entry in self.known_entries)
        locations = f"{first} (and {len(others)} more)" if others else first
        expected = ", ".join(
            f"{entry.key_type} {_fingerprint_of(entry.key)} ({entry.location})"
            for entry in self.known_entries
        )
        return HostKeyError(
            f"the host key of {self.name} does not match the one in known_hosts: {presented}",
            hint="ask the host's administrators for its fingerprint, a pool's for that of each member, "
            f"before you change {locations}: somebody may be intercepting the connection",
            detail=(f"expected: {expected}",),
        )

    def _ask(self, key: paramiko.PKey) -> None:
        presented = fingerprint(key)
        files = self.hop.known_hosts
        if self.hop.ask_unknown_host_keys:
            answer = self.credentials.ask(
                f"the host key of {self.name} is not known: {key.get_name()} {presented}\n"
                "does it match the fingerprint that your site publishes? [yes/no/fingerprint]"
            )
            if answer is not None and (answer.lower() == "yes" or answer == presented):
                # With `UserKnownHostsFile none` there is no file, and ssh does not record the key either.
                for file in files[:1]:
                    _append(file, _hash_name(self.name) if self.hop.hash_known_hosts else self.name, key)
                return
        raise HostKeyError(
            f"the host key of {self.name} is not known: {key.get_name()} {presented}",
            hint="if it matches the fingerprint that your site publishes, "
            + (f"add the key to {files[0]}: log in once with ssh" if files else "set it in ssh.host_keys"),
        )


def _known_hosts_name(hop: HopConfig) -> str:
    """The hop's name in known_hosts: HostKeyAlias, or the host, with the port if it is not 22."""
    if hop.host_key_alias:
        return hop.host_key_alias
    return _with_port(hop.host, hop.port)


def _with_port(host: str, port: int) -> str:
    return host if port == SSH_PORT else f"[{host}]:{port}"


def _peer_address(client: paramiko.SSHClient) -> str:
    """The hop's address; "" if it is not connected directly, or is a loopback address, which ssh does not check."""
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
