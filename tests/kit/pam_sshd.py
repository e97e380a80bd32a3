"""Machines with their own accounts, on this one: sshd in a mount and a UTS namespace (namespaces(7)).

There /etc/passwd, /etc/shadow, /etc/group and /etc/pam.d/sshd are the test's. So the accounts are real for everything
that runs there, sshd, PAM and login shells, while this system is not changed, even if a test is killed.
"""

import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.kit.accounts import Account, create_account, write_account_files
from tests.kit.cli import run
from tests.kit.gateway_servers import WrappedSshd, find_program
from tests.kit.mounts import hide_all_but
from tests.kit.ports import free_port
from tests.kit.sshd import GATEWAY_OPTIONS, LOOPBACK, Network, known_hosts_line, set_env, terminate_all

PASSWORD_RULE = "auth required pam_unix.so nodelay"
# Optional: only the other lines decide.
NOTE_RULE = "auth optional pam_exec.so quiet expose_authtok {note}"
# A second loopback address, so that the two hops have different names.
HOST_ADDRESS = "127.0.0.2"
# Records each password that reaches a hop, right or wrong.
NOTE_SCRIPT = """\
#!/bin/sh
umask 077
{ cat | tr -d '\\000'; echo; } >>%s
"""


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
        return self.folder / "received"

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
        new_account = create_account(self.folder / "homes", self.packages, program)
        self.accounts.append(new_account)
        for machine in (self.gateway_machine, self.host_machine):
            machine.passwords[new_account.name] = new_account.password
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
        files = write_account_files(machine.folder, self.accounts, machine.passwords)
        pam = machine.folder / "pam"
        pam.write_text(
            "\n".join(line.replace("{note}", str(note)) for line in machine.pam_stack)
            + "\naccount required pam_permit.so\nsession required pam_permit.so\n"
        )
        files[pam] = Path("/etc/pam.d/sshd")
        setup = machine.folder / "setup"
        setup.write_text(_setup(machine.hostname, files, self._visible()))
        unshare = [find_program("unshare"), "--mount", "--uts", "--propagation", "private"]
        return WrappedSshd(
            name,
            machine.folder / "sshd",
            self.authorized_keys,
            *self.options[name],
            *options,
            "UsePAM yes",
            set_env({"LANG": "C.UTF-8", **machine.environment}),
            address=address,
            prefix=[*unshare, "sh", str(setup)],
        )

    def _visible(self) -> list[Path]:
        """The folders that an account must see, although a parent may be root's alone."""
        python = map(Path, (sys.base_prefix, sysconfig.get_path("purelib"), sys.prefix))
        paths = (*python, self.packages, self.folder, *self.exposed)
        return list(dict.fromkeys(path.resolve() for path in paths))


def _setup(hostname: str, files: dict[Path, Path], visible: Iterable[Path]) -> str:
    """A shell script that sets up the machine, then executes its arguments."""
    lines = ["set -e", shlex.join(["hostname", hostname])]
    lines += [shlex.join(["mount", "--bind", str(source), str(target)]) for source, target in files.items()]
    lines += hide_all_but(visible)
    return "\n".join([*lines, 'exec "$@"', ""])


def skip_unless_supported() -> None:
    """Skip the test where such machines cannot be created."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make machines with accounts of their own")
    for program in ("unshare", "mount", "openssl", "hostname"):
        if shutil.which(program) is None and not find_program(program):
            pytest.skip(f"needs the program {program}")
    result = run(find_program("unshare"), "--mount", "--uts", "true", check=False)
    if result.returncode:
        pytest.skip(f"needs the right to make namespaces: {result.stderr.strip()}")
