"""The login keychain of macOS, through security(1); macOS asks the user to confirm each change."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from notebooks_over_ssh.jupyter.certificate import Certificate
from notebooks_over_ssh.trust_stores import installed
from notebooks_over_ssh.trust_stores.base import TrustStore, run

_HASH_PATTERN = re.compile(r"SHA-256 hash: ([0-9A-Fa-f]{64})")


@dataclass(frozen=True)
class Keychain:
    """The login keychain."""

    program: str
    file: Path

    @property
    def name(self) -> str:
        return "the login keychain"

    def installed_fingerprints(self) -> set[str]:
        hashes = {digest.lower() for digest in _HASH_PATTERN.findall(run(list_argv(self)))}
        return hashes & installed.load_all().keys()

    def add(self, certificate: Certificate, host: str) -> None:
        run(add_argv(self, installed.pem_path(certificate)))

    def remove(self, sha256: str) -> bool:
        if sha256 not in self.installed_fingerprints():
            return False
        run(remove_argv(self, installed.load_all()[sha256]))
        return True


def keychains() -> list[TrustStore]:
    """The login keychain, if security(1) is installed."""
    program = shutil.which("security")
    return [Keychain(program, Path.home() / "Library/Keychains/login.keychain-db")] if program else []


def list_argv(keychain: Keychain) -> list[str]:
    """The command that lists all certificates with their hashes."""
    return [keychain.program, "find-certificate", "-a", "-Z", str(keychain.file)]


def add_argv(keychain: Keychain, file: Path) -> list[str]:
    """The command that trusts a self-signed certificate, for TLS only and, without -d, for this user only."""
    return (
        [keychain.program, "add-trusted-cert", "-r", "trustRoot", "-p", "ssl"]
        + ["-k", str(keychain.file), str(file)]
    )  # fmt: skip


def remove_argv(keychain: Keychain, certificate: Certificate) -> list[str]:
    """The command that removes a certificate and its trust settings."""
    return [keychain.program, "delete-certificate", "-t", "-Z", certificate.sha1.upper(), str(keychain.file)]
