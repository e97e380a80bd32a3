"""Machines with their own accounts, on this one: sshd in a mount and a UTS namespace (namespaces(7)).

There /etc/passwd, /etc/shadow, /etc/group and /etc/pam.d/sshd are the test's. So the accounts are real for everything
that runs there, sshd, PAM and login shells, while this system is not changed, even if a test is killed.
"""

import os
import secrets
import shlex
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.kit.gateway_servers import WrappedSshd, find_program
from tests.kit.ports import free_port
from tests.kit.sshd import GATEWAY_OPTIONS, LOOPBACK, Network, known_hosts_line, terminate_all

COMMAND_TIMEOUT_S = 10.0
PASSWORD_RULE = "auth required pam_unix.so nodelay"
# Optional: only the other lines decide.
NOTE_RULE = "auth optional pam_exec.so quiet expose_authtok {note}"
UIDS = range(30_000, 60_000)
# A second loopback address, so that the two hops have different names.
HOST_ADDRESS = "127.0.0.2"
ACCOUNT_DATABASES = "/etc/passwd", "/etc/shadow", "/etc/group"
# Records each password that reaches a hop, right or wrong.
NOTE_SCRIPT = """\
#!/bin/sh
umask 077
{ cat | tr -d '\\000'; echo; } >>%s
"""


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


@dataclass
class Machine:
    """The configuration of one hop, and the passwords that it received."""

    folder: Path
    passwords: dict[str, str]
    """By account, its password here."""
    pam_stack: Sequence[str] = (PASSWORD_RULE, NOTE_RULE)
    """The lines of PAM for the login (pam.conf(5))."""
    environment: dict[str, str] = field(default_factory=dict)
    hostname: str = "gateway"

    @property
    def received_file(self) -> Path:
        return self.folder / "noted"

    def received_passwords(self) -> list[str]:
        """All passwords that this machine received, in order."""
        return self.received_file.read_text().splitlines() if self.received_file.exists() else []


class PamNetwork(Network):
    """A gateway and a host with the same accounts, each with its own passwords."""

    def __init__(self, folder: Path, packages: Path) -> None:
        folder.mkdir(mode=0o755)
        packages.chmod(0o755)
        super().__init__(folder, packages)
        (folder / "homes").mkdir(mode=0o755)
        self.packages = packages
        self.accounts: list[Account] = []
        self.gateway_machine = Machine(folder / "at_gateway", {})
        self.host_machine = Machine(folder / "at_host", {}, hostname=HOST_ADDRESS)
        self.options: dict[str, tuple[str, ...]] = {"gateway": (), "host": ()}
        self.host_address = HOST_ADDRESS
        self.exposed: list[Path] = []
        self.extra_addresses: list[str] = []
        """More addresses of the host, which it has the same port at."""

    def account(self, shell: str = "bash") -> Account:
        """A new account on both, with a home folder and the Conda installation."""
        program = find_program(shell)
        if not program:
            pytest.skip(f"needs the program {shell}")
        used_uids = {
            process.info["uids"].real for process in psutil.process_iter(["uids"]) if process.info["uids"]
        }
        uid = next(uid for uid in iter(lambda: secrets.choice(UIDS), None) if uid not in used_uids)
        name = f"nb{secrets.token_hex(4)}"
        home = self.folder / "homes" / name
        home.mkdir(mode=0o700)
        (home / "mlpractical").mkdir()
        (home / "miniconda3").symlink_to(self.packages / "miniconda3")
        new_account = Account(name, uid, home, program, f"password of {name}")
        new_account.own(home, home / "mlpractical", home / "miniconda3")
        self.accounts.append(new_account)
        for machine in (self.gateway_machine, self.host_machine):
            machine.passwords[name] = new_account.password
        return new_account

    def expose(self, *folders: Path) -> None:
        """Make these folders visible to the accounts."""
        for folder in folders:
            folder.chmod(0o755)
        self.exposed += folders

    def start(self) -> None:
        """Start both machines, with the accounts and settings made so far."""
        self.gateway = self._server(
            "gateway", self.gateway_machine, LOOPBACK, "AllowTcpForwarding yes", *GATEWAY_OPTIONS
        )
        self.host = self._server("host", self.host_machine, self.host_address)
        self.host.port = free_port()
        self.host.options += tuple(
            f"ListenAddress {address}:{self.host.port}" for address in self.extra_addresses
        )
        super().start()

    def close(self) -> None:
        super().close()
        for account in self.accounts:
            terminate_all(account.processes())

    def received_passwords(self) -> tuple[list[str], list[str]]:
        """All passwords that the gateway received, and all that the host received."""
        return self.gateway_machine.received_passwords(), self.host_machine.received_passwords()

    def write_known_hosts(self, *extra: str) -> None:
        more = [
            known_hosts_line(self.host.port, self.host.public_key, address)
            for address in self.extra_addresses
        ]
        super().write_known_hosts(*more, *extra)

    def _server(self, name: str, machine: Machine, address: str, *options: str) -> WrappedSshd:
        machine.folder.mkdir(mode=0o755)
        note = machine.folder / "note"
        note.write_text(NOTE_SCRIPT % shlex.quote(str(machine.received_file)))
        note.chmod(0o755)
        files = self._account_files(machine)
        pam = machine.folder / "pam"
        pam.write_text(
            "\n".join(line.replace("{note}", str(note)) for line in machine.pam_stack)
            + "\naccount required pam_permit.so\nsession required pam_permit.so\n"
        )
        files[pam] = Path("/etc/pam.d/sshd")
        setup = machine.folder / "setup"
        setup.write_text(_setup(machine.hostname, files, self._visible()))
        variables = {"LANG": "C.UTF-8", **machine.environment}
        return WrappedSshd(
            name,
            machine.folder / "sshd",
            self.authorized_keys,
            *self.options[name],
            *options,
            "UsePAM yes",
            "SetEnv " + " ".join(f'"{key}={value}"' for key, value in variables.items()),
            address=address,
            prefix=[
                find_program("unshare"),
                "--mount",
                "--uts",
                "--propagation",
                "private",
                "sh",
                str(setup),
            ],
        )

    def _account_files(self, machine: Machine) -> dict[Path, Path]:
        lines = {name: [Path(name).read_text().rstrip("\n")] for name in ACCOUNT_DATABASES}
        for account in self.accounts:
            lines["/etc/passwd"].append(
                f"{account.name}:x:{account.uid}:{account.uid}::{account.home}:{account.shell}"
            )
            lines["/etc/shadow"].append(
                f"{account.name}:{_hash_password(machine.passwords[account.name])}:20000::::::"
            )
            lines["/etc/group"].append(f"{account.name}:x:{account.uid}:")
        files = {}
        for name, text in lines.items():
            path = machine.folder / Path(name).name
            path.touch(mode=0o600 if name.endswith("shadow") else 0o644)
            path.write_text("\n".join(text) + "\n")
            files[path] = Path(name)
        return files

    def _visible(self) -> list[Path]:
        """The folders that an account must see, although a parent may be root's alone."""
        paths = [
            sys.base_prefix,
            sysconfig.get_path("purelib"),
            sys.prefix,
            str(self.packages),
            str(self.folder),
        ]
        return list(dict.fromkeys(path.resolve() for path in [*map(Path, paths), *self.exposed]))


def _hash_password(password: str) -> str:
    result = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"],
        input=f"{password}\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_TIMEOUT_S,
    )
    return result.stdout.strip()


def _setup(hostname: str, files: dict[Path, Path], visible: Iterable[Path]) -> str:
    """A shell script that sets up the machine, then executes its arguments."""
    lines = ["set -e", shlex.join(["hostname", hostname])]
    lines += [shlex.join(["mount", "--bind", str(source), str(target)]) for source, target in files.items()]
    hidden = {path: ancestor for path in visible if (ancestor := _closed_ancestor(path))}
    if hidden:
        # Mount an empty folder over each closed one, with only the visible folders in it.
        lines.append("mount -t tmpfs -o mode=755 tmpfs /mnt")
        for number, path in enumerate(hidden):
            mount_point = f"/mnt/{number}"
            lines += [f"mkdir {mount_point}", shlex.join(["mount", "--rbind", str(path), mount_point])]
        for ancestor in sorted(set(hidden.values())):
            lines.append(shlex.join(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(ancestor)]))
        for number, path in enumerate(hidden):
            lines.append(shlex.join(["mkdir", "-p", str(path)]))
            lines.append(shlex.join(["mount", "--rbind", f"/mnt/{number}", str(path)]))
    return "\n".join([*lines, 'exec "$@"', ""])


def _closed_ancestor(path: Path) -> Path | None:
    """The outermost parent that not everybody can enter."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def skip_unless_supported() -> None:
    """Skip the test where such machines cannot be created."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make machines with accounts of their own")
    for program in ("unshare", "mount", "openssl", "hostname"):
        if shutil.which(program) is None and not find_program(program):
            pytest.skip(f"needs the program {program}")
    result = subprocess.run(
        [find_program("unshare"), "--mount", "--uts", "true"],
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    if result.returncode:
        pytest.skip(f"needs the right to make namespaces: {result.stderr.strip()}")
