"""The login keychain of macOS: security(1) reads and writes it, and macOS asks the user to confirm."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from notebooks_over_ssh.jupyter.certificate import Certificate
from notebooks_over_ssh.trust_stores import installed as record
from notebooks_over_ssh.trust_stores.base import Store, run

_LISTED = re.compile(r"SHA-256 hash: ([0-9A-Fa-f]{64})")


@dataclass(frozen=True)
class Keychain:
    """The login keychain."""

    program: str
    file: Path

    @property
    def name(self) -> str:
        return "the login keychain"

    def ours(self) -> set[str]:
        listed = {found.lower() for found in _LISTED.findall(run(list_argv(self)))}
        return listed & record.known().keys()

    def add(self, certificate: Certificate, host: str) -> None:
        run(add_argv(self, record.file_of(certificate)))

    def remove(self, sha256: str) -> bool:
        if sha256 not in self.ours():
            return False
        run(remove_argv(self, record.known()[sha256]))
        return True


def keychains() -> list[Store]:
    """The login keychain, where the program that opens it is."""
    program = shutil.which("security")
    return [Keychain(program, Path.home() / "Library/Keychains/login.keychain-db")] if program else []


def list_argv(keychain: Keychain) -> list[str]:
    """What lists every certificate with its hashes."""
    return [keychain.program, "find-certificate", "-a", "-Z", str(keychain.file)]


def add_argv(keychain: Keychain, file: Path) -> list[str]:
    """What trusts a certificate that signed itself, for TLS only; without -d for this user only."""
    return (
        [keychain.program, "add-trusted-cert", "-r", "trustRoot", "-p", "ssl"]
        + ["-k", str(keychain.file), str(file)]
    )  # fmt: skip


def remove_argv(keychain: Keychain, certificate: Certificate) -> list[str]:
    """What removes a certificate together with the trust in it."""
    return [keychain.program, "delete-certificate", "-t", "-Z", certificate.sha1.upper(), str(keychain.file)]
