"""The NSS databases of Chromium and Firefox, through NSS's certutil(1).

Chromium trusts a leaf certificate with the flag P, "trusted peer". Firefox ignores P, but trusts one with C. For a
certificate that is not a CA (RFC 5280, section 4.2.1.9), C covers the certificate itself and nothing that it signs.
"""

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.jupyter.certificate import Certificate
from notebooks_over_ssh.trust_stores.base import run
from notebooks_over_ssh.util.command_hint import command

DATABASE_FILE = "cert9.db"
# No colon, because NSS takes the text before one for a token's name.
NICKNAME = "notebooks-over-ssh {host} {sha256}"
_ENTRY_PATTERN = re.compile(r"^(notebooks-over-ssh \S+ ([0-9a-f]{64})) +(\S*,\S*,\S*) *$", re.MULTILINE)
_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "brave-browser") + (
    "microsoft-edge", "microsoft-edge-stable", "vivaldi", "vivaldi-stable", "opera",
)  # fmt: skip
# By ID or ID_LIKE of os-release(5).
_PACKAGES = {
    "debian": "libnss3-tools",
    "fedora": "nss-tools",
    "rhel": "nss-tools",
    "suse": "mozilla-nss-tools",
    "arch": "nss",
    "alpine": "nss-tools",
}


@dataclass(frozen=True)
class Database:
    """Chromium's shared database, or that of a Firefox profile; `trust` has the flags that the browser requires."""

    browser: str
    folder: Path
    trust: str

    @property
    def name(self) -> str:
        home = Path.home()
        display_path = (
            f"~/{self.folder.relative_to(home)}" if self.folder.is_relative_to(home) else self.folder
        )
        return f"{self.browser} ({display_path})"

    def installed_fingerprints(self) -> set[str]:
        return {sha256 for _, sha256, trust in self._entries() if trust == self.trust}

    def add(self, certificate: Certificate, host: str) -> None:
        nickname = NICKNAME.format(host=re.sub(r"[^A-Za-z0-9._-]", "_", host), sha256=certificate.sha256)
        if not (self.folder / DATABASE_FILE).exists():
            self._create()
        try:
            self._certutil("-A", "-a", "-t", self.trust, "-n", nickname, stdin=certificate.pem)
            if certificate.sha256 not in self.installed_fingerprints():
                raise TaskError(
                    f"{self.browser} already has the certificate, under another name",
                    hint="remove it in the browser's settings, and try again",
                )
        except TaskError as error:
            # With a primary password, certutil adds it, but without the flags.
            self.remove(certificate.sha256)
            if "PASSWORD" not in str(error):
                raise
            raise TaskError(
                "it is protected by a primary password, which is not supported",
                hint=f"remove the primary password while {command('trust')} runs",
            ) from error

    def remove(self, sha256: str) -> bool:
        entries = [nickname for nickname, fingerprint, _ in self._entries() if fingerprint == sha256]
        for nickname in entries:
            self._certutil("-D", "-n", nickname)
        return bool(entries)

    def _entries(self) -> list[tuple[str, str, str]]:
        """Our entries: nickname, SHA-256 and trust of each."""
        if not (self.folder / DATABASE_FILE).exists():
            return []
        return _ENTRY_PATTERN.findall(self._certutil("-L"))

    def _create(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._certutil("-N", "--empty-password")

    def _certutil(self, *arguments: str, stdin: str = "") -> str:
        program = shutil.which("certutil")
        if program is None:
            raise TaskError("certutil is not installed", hint=f"install {_package()}, and try again")
        return run([program, "-d", f"sql:{self.folder}", *arguments], stdin=stdin)


def databases() -> list[Database]:
    """Every database of this user, including the one that an installed Chromium will create at its first start."""
    home = Path.home()
    chromium = _with_database(_chromium_folders(home))
    if not chromium and _has_chromium():
        # All releases use this one if it exists; those before 146 use no other.
        chromium = [home / ".pki/nssdb"]
    chromium_databases = [Database("Chromium", folder, "P,,") for folder in chromium]
    return chromium_databases + [
        Database("Firefox", folder, "C,,") for folder in _with_database(_firefox_folders(home))
    ]


def _chromium_folders(home: Path) -> Iterator[Path]:
    """See docs/linux/cert_management.md of Chromium; snaps and Flatpaks have the same below their own homes."""
    yield home / ".pki/nssdb"
    yield Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share") / "pki/nssdb"
    for suffix in ("current/.pki/nssdb", "current/.local/share/pki/nssdb"):
        yield from home.glob(f"snap/*/{suffix}")
    for suffix in (".pki/nssdb", "data/pki/nssdb"):
        yield from home.glob(f".var/app/*/{suffix}")


def _firefox_folders(home: Path) -> Iterator[Path]:
    """The folders of the profiles: below ~/.mozilla, or since release 147 below XDG_CONFIG_HOME."""
    if sys.platform == "darwin":
        yield from home.glob("Library/Application Support/Firefox/Profiles/*")
        return
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    yield from home.glob(".mozilla/firefox/*")
    yield from config.glob("mozilla/firefox/*")
    for application in ("snap/firefox/common", ".var/app/org.mozilla.firefox"):
        for suffix in (".mozilla/firefox/*", ".config/mozilla/firefox/*", "config/mozilla/firefox/*"):
            yield from home.glob(f"{application}/{suffix}")


def _with_database(folders: Iterator[Path]) -> list[Path]:
    by_path = {folder.resolve(): folder for folder in folders if (folder / DATABASE_FILE).is_file()}
    return sorted(by_path.values())


def _has_chromium() -> bool:
    # A snap creates a database in its own home when it first runs.
    programs = (shutil.which(name) for name in _CHROMIUMS)
    return any(program and not program.startswith("/snap/") for program in programs)


def _package() -> str:
    if sys.platform == "darwin":
        return "it with: brew install nss"
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    for name in (system.get("ID", ""), *system.get("ID_LIKE", "").split()):
        for family, package in _PACKAGES.items():
            if name.startswith(family) or name.endswith(family):
                return f"the package {package}"
    return "the package with the command-line tools of NSS"
