"""The user's keys for public key authentication: those of the agent and of files, with their certificates."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import paramiko
from paramiko.agent import Agent
from paramiko.pkey import UnknownKeyType

from notebooks_over_ssh.ssh.client_config import HopConfig
from notebooks_over_ssh.ssh.key_files import read_key
from notebooks_over_ssh.ssh.pkcs11 import token_keys
from notebooks_over_ssh.ssh.private_agent import library_path
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from notebooks_over_ssh.ssh.security_keys import agent_security_key, is_security_key


class Identities:
    """The keys to offer to a hop."""

    def __init__(self, hop: HopConfig, credentials: CredentialPrompter) -> None:
        self.hop = hop
        self.credentials = credentials
        self.skipped: list[str] = []
        """The keys that were not offered, each with the reason, for the error message."""

    def iter_keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        """Yield each key once, with its name for messages: the agent's keys, then files, encrypted ones last."""
        seen: set[str] = set()
        for name, key in self._candidates():
            # A key with a certificate is a different identity from the key alone.
            blob = getattr(key, "public_blob", None)
            identity = key.get_base64() + (blob.key_type + str(hash(blob.key_blob)) if blob else "")
            if not self._is_allowed(key):
                self.skipped.append(f"{name} (not allowed by PubkeyAcceptedAlgorithms or RequiredRSASize)")
            elif identity not in seen:
                seen.add(identity)
                yield name, key

    def _is_allowed(self, key: paramiko.PKey) -> bool:
        """Whether PubkeyAcceptedAlgorithms and RequiredRSASize allow the key."""
        if key.get_name() == "ssh-rsa" and key.get_bits() < self.hop.required_rsa_size:
            return False
        allowed = self.hop.algorithms.get("pubkeys")
        blob = getattr(key, "public_blob", None)
        key_type = blob.key_type if blob else key.get_name()
        # RSA keys are of type ssh-rsa and sign with SHA-2 (RFC 8332, section 3).
        rsa_algorithms = [key_type.replace("ssh-rsa", name) for name in ("rsa-sha2-256", "rsa-sha2-512")]
        algorithms = rsa_algorithms if "ssh-rsa" in key_type else [key_type]
        return not allowed or any(algorithm in allowed for algorithm in algorithms)

    def _candidates(self) -> Iterator[tuple[str, paramiko.PKey]]:
        yield from self._agent_keys()
        yield from self._token_keys()
        encrypted = []
        for file in dict.fromkeys(self.hop.identity_files):
            if not file.is_file():
                continue
            try:
                yield from self._with_certificates(file, read_key(file, None, self.hop.security_key_provider))
            except (TypeError, paramiko.PasswordRequiredException):
                encrypted.append(file)
            except (ValueError, OSError, paramiko.SSHException, UnknownKeyType) as error:
                self.skipped.append(f"{file} (unreadable: {error})")
        for file in encrypted:
            key = self._decrypted(file)
            if key is not None:
                yield from self._with_certificates(file, key)

    def _agent_keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        if self.hop.agent in (None, "none"):
            return
        public_keys = self._public_keys()
        with _agent(str(self.hop.agent)) as agent:
            # Keys that are configured as files first, as ssh does: a server limits the attempts (MaxAuthTries).
            for key in sorted(agent.get_keys(), key=lambda key: key.get_base64() not in public_keys):
                if key.get_base64() in public_keys or not self.hop.identities_only:
                    name = f"agent: {getattr(key, 'comment', '') or key.get_name()}"
                    yield name, agent_security_key(key) if is_security_key(key.get_name()) else key

    def _token_keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        library = library_path(self.hop.pkcs11_provider or "")
        if not library:
            return
        try:
            for key in token_keys(library):
                yield f"token: {key.get_name()}", key
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            self.skipped.append(f"{library} ({error})")

    def _public_keys(self) -> set[str]:
        """The public keys (base64) of the identity files; an identity file may itself be a public key."""
        keys = set()
        for file in self.hop.identity_files:
            for public_file in (file, Path(f"{file}.pub")):
                with contextlib.suppress(OSError, UnicodeDecodeError, IndexError):
                    keys.add(public_file.read_text().split()[1])
        return keys

    def _with_certificates(self, file: Path, key: paramiko.PKey) -> Iterator[tuple[str, paramiko.PKey]]:
        """Yield the key with each certificate that matches it, then alone. `read_key` has loaded `FILE-cert.pub`."""
        if getattr(key, "public_blob", None) is not None:
            yield f"{file} with {file}-cert.pub", key
        for certificate in self.hop.certificate_files:
            with contextlib.suppress(OSError, ValueError, paramiko.SSHException):
                key.load_certificate(str(certificate))
                yield f"{file} with {certificate}", key
        key.public_blob = None
        yield str(file), key

    def _decrypted(self, file: Path) -> paramiko.PKey | None:
        if file not in self.credentials.decrypted_keys:
            key = self._decrypt(file)
            if key is None:
                return None
            self.credentials.decrypted_keys[file] = key
        return self.credentials.decrypted_keys[file]

    def _decrypt(self, file: Path) -> paramiko.PKey | None:
        passphrase = self.credentials.passphrase(file)
        if passphrase is None:
            self.skipped.append(f"{file} (encrypted, and no terminal to prompt for the passphrase)")
            return None
        try:
            return read_key(file, passphrase, self.hop.security_key_provider)
        except (ValueError, paramiko.SSHException):
            if self.credentials.forget_passphrase(file):
                return self._decrypt(file)
            self.skipped.append(f"{file} (wrong passphrase)")
            return None


@contextlib.contextmanager
def _agent(socket_path: str) -> Iterator[Agent]:
    """Connect to the agent at the socket; Paramiko reads its path from SSH_AUTH_SOCK only."""
    previous = os.environ.get("SSH_AUTH_SOCK")
    os.environ["SSH_AUTH_SOCK"] = socket_path
    try:
        agent = Agent()
    finally:
        if previous is None:
            del os.environ["SSH_AUTH_SOCK"]
        else:
            os.environ["SSH_AUTH_SOCK"] = previous
    try:
        yield agent
    finally:
        agent.close()
