"""The user's Root store of Windows, through certutil.exe, also from WSL; Windows asks the user to confirm."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from notebooks_over_ssh.jupyter.certificate import Certificate
from notebooks_over_ssh.trust_stores import installed
from notebooks_over_ssh.trust_stores.base import TrustStore, run

# certutil's output is localized, apart from the hashes.
_HASH_PATTERN = re.compile(r"\b([0-9a-f]{40})\b", re.IGNORECASE)


@dataclass(frozen=True)
class RootStore:
    """The Root store of the user who is logged on to Windows."""

    program: str

    @property
    def name(self) -> str:
        return "the Root store of your Windows account"

    def installed_fingerprints(self) -> set[str]:
        hashes = {digest.lower() for digest in _HASH_PATTERN.findall(run(list_argv(self)))}
        return {sha256 for sha256, certificate in installed.load_all().items() if certificate.sha1 in hashes}

    def add(self, certificate: Certificate, host: str) -> None:
        run(add_argv(self, _windows_path(installed.pem_path(certificate))))

    def remove(self, sha256: str) -> bool:
        if sha256 not in self.installed_fingerprints():
            return False
        run(remove_argv(self, installed.load_all()[sha256]))
        return True


def root_stores() -> list[TrustStore]:
    """The store, if certutil.exe is installed."""
    program = shutil.which("certutil.exe")
    return [RootStore(program)] if program else []


def list_argv(store: RootStore) -> list[str]:
    """The command that lists all certificates with their SHA-1."""
    return [store.program, "-user", "-store", "Root"]


def add_argv(store: RootStore, file: str) -> list[str]:
    """The command that adds a certificate for this user only."""
    return [store.program, "-user", "-addstore", "Root", file]


def remove_argv(store: RootStore, certificate: Certificate) -> list[str]:
    """The command that removes the certificate."""
    return [store.program, "-user", "-delstore", "Root", certificate.sha1]


def _windows_path(file: Path) -> str:
    wslpath = shutil.which("wslpath")
    return run([wslpath, "-w", str(file)]).strip() if wslpath else str(file)
