"""The user's keys: those of the agent, and files, with the certificates that belong to them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import paramiko
from paramiko.agent import Agent
from paramiko.pkey import UnknownKeyType

from notebooks_over_ssh.ssh.client_config import HopConfig
from notebooks_over_ssh.ssh.key_files import read_key
from notebooks_over_ssh.ssh.prompting import CredentialPrompter


class Identities:
    """The keys that may be offered to a hop, in the order in which they should be."""

    def __init__(self, hop: HopConfig, credentials: CredentialPrompter) -> None:
        self.hop = hop
        self.credentials = credentials
        self.skipped: list[str] = []
        """What was no use, and why, for the message when all fails."""

    def iter_keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        """Each key once, with its name for messages: the agent's, then files; those that need a passphrase last."""
        seen: set[str] = set()
        for name, key in self._candidates():
            # The same key with a certificate is another proof.
            blob = getattr(key, "public_blob", None)
            identity = key.get_base64() + (blob.key_type + str(hash(blob.key_blob)) if blob else "")
            if not self._may_be_offered(key):
                self.skipped.append(f"{name} is of a kind or size that ssh's configuration forbids")
            elif identity not in seen:
                seen.add(identity)
                yield name, key

    def _may_be_offered(self, key: paramiko.PKey) -> bool:
        """Whether PubkeyAcceptedAlgorithms and RequiredRSASize let the key be used."""
        if key.get_name() == "ssh-rsa" and key.get_bits() < self.hop.required_rsa_size:
            return False
        allowed = self.hop.algorithms.get("pubkeys")
        blob = getattr(key, "public_blob", None)
        kind = blob.key_type if blob else key.get_name()
        # Keys of RSA sign with SHA-2, whatever they are called (RFC 8332).
        names = [kind.replace("ssh-rsa", name) for name in ("rsa-sha2-256", "rsa-sha2-512")]
        return not allowed or any(name in allowed for name in (names if "ssh-rsa" in kind else [kind]))

    def _candidates(self) -> Iterator[tuple[str, paramiko.PKey]]:
        yield from self._agent_keys()
        encrypted = []
        for file in dict.fromkeys(self.hop.identity_files):
            if not file.is_file():
                continue
            try:
                yield from self._with_certificates(file, read_key(file, None))
            except (TypeError, paramiko.PasswordRequiredException):
                encrypted.append(file)
            except (ValueError, OSError, paramiko.SSHException, UnknownKeyType) as error:
                self.skipped.append(f"{file} is unreadable ({error})")
        for file in encrypted:
            key = self._decrypted(file)
            if key is not None:
                yield from self._with_certificates(file, key)

    def _agent_keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        if self.hop.agent in (None, "none"):
            return
        public_keys = self._public_keys()
        with _agent(str(self.hop.agent)) as agent:
            # Those that a file names come first, as with ssh: a hop counts the keys that are no good to it.
            for key in sorted(agent.get_keys(), key=lambda key: key.get_base64() not in public_keys):
                if key.get_base64() in public_keys or not self.hop.identities_only:
                    yield f"agent: {getattr(key, 'comment', '') or key.get_name()}", key

    def _public_keys(self) -> set[str]:
        """The keys (base64) of the identity files: with IdentitiesOnly, these alone of the agent's are offered."""
        keys = set()
        for file in self.hop.identity_files:
            for public in (file, Path(f"{file}.pub")):
                with contextlib.suppress(OSError, UnicodeDecodeError, IndexError):
                    keys.add(public.read_text().split()[1])
        return keys

    def _with_certificates(self, file: Path, key: paramiko.PKey) -> Iterator[tuple[str, paramiko.PKey]]:
        """The key with each certificate that fits it, then alone. `KEY-cert.pub` is loaded by Paramiko itself."""
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
            self.skipped.append(f"{file} is encrypted, and nobody is there to unlock it")
            return None
        try:
            return read_key(file, passphrase)
        except (ValueError, paramiko.SSHException):
            self.credentials.forget_passphrase(file)
            self.skipped.append(f"wrong passphrase for {file}")
            return None


@contextlib.contextmanager
def _agent(socket_path: str) -> Iterator[Agent]:
    """The agent behind the socket; Paramiko knows it only by the variable."""
    before = os.environ.get("SSH_AUTH_SOCK")
    os.environ["SSH_AUTH_SOCK"] = socket_path
    try:
        agent = Agent()
    finally:
        if before is None:
            del os.environ["SSH_AUTH_SOCK"]
        else:
            os.environ["SSH_AUTH_SOCK"] = before
    try:
        yield agent
    finally:
        agent.close()
