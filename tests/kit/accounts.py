"""Accounts of machines in mount namespaces, whose /etc/passwd, /etc/shadow and /etc/group are the test's own."""

import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.kit.cli import run

UIDS = range(30_000, 60_000)


@dataclass(frozen=True)
class Account:
    """An account that may log in."""

    name: str
    uid: int
    home: Path
    shell: str
    password: str

    def own(self, *paths: Path) -> None:
        """Give these files to the account."""
        for path in paths:
            os.chown(path, self.uid, self.uid, follow_symlinks=False)

    def write(self, name: str, text: str) -> Path:
        """Write a file that the account owns."""
        path = self.home / name
        for folder in reversed(path.relative_to(self.home).parents[:-1]):
            (self.home / folder).mkdir(mode=0o755, exist_ok=True)
            self.own(self.home / folder)
        path.write_text(text)
        self.own(path)
        return path

    def processes(self) -> list[psutil.Process]:
        """The processes of the account."""
        result = []
        for process in psutil.process_iter(["uids"]):
            uids = process.info["uids"]
            if uids and self.uid in uids and process.status() != psutil.STATUS_ZOMBIE:
                result.append(process)
        return result


def create_account(homes: Path, packages: Path, shell: str) -> Account:
    """A new account with an unused user ID, and a home folder with the Conda installation in `packages`."""
    used_uids = {
        process.info["uids"].real for process in psutil.process_iter(["uids"]) if process.info["uids"]
    }
    uid = next(uid for uid in iter(lambda: secrets.choice(UIDS), None) if uid not in used_uids)
    name = f"nb{secrets.token_hex(4)}"
    home = homes / name
    home.mkdir(mode=0o700)
    (home / "mlpractical").mkdir()
    (home / "miniconda3").symlink_to(packages / "miniconda3")
    account = Account(name, uid, home, shell, f"password of {name}")
    account.own(home, home / "mlpractical", home / "miniconda3")
    return account


def write_account_files(
    folder: Path, accounts: Iterable[Account], passwords: Mapping[str, str]
) -> dict[Path, Path]:
    """Write this system's accounts and the given ones to files in the folder; each file with its place in /etc.

    An account without a password in `passwords` has none that is right. Files that exist keep their inodes, so a
    machine where they are mounted sees the change.
    """
    lines = {name: [Path("/etc", name).read_text().rstrip("\n")] for name in ("passwd", "shadow", "group")}
    for account in accounts:
        password = passwords.get(account.name)
        lines["passwd"].append(
            f"{account.name}:x:{account.uid}:{account.uid}::{account.home}:{account.shell}"
        )
        lines["shadow"].append(f"{account.name}:{hash_password(password) if password else '*'}:20000::::::")
        lines["group"].append(f"{account.name}:x:{account.uid}:")
    files = {}
    for name, text in lines.items():
        path = folder / name
        path.touch(mode=0o600 if name == "shadow" else 0o644)
        content = "\n".join(text) + "\n"
        # While a file is rewritten it is short, and a program that reads it then finds no account.
        if path.read_text() != content:
            path.write_text(content)
        files[path] = Path("/etc", name)
    return files


def hash_password(password: str) -> str:
    """The password as in shadow(5)."""
    return run("openssl", "passwd", "-6", "-stdin", stdin=f"{password}\n").stdout.strip()
