"""Other gateways: an sshd that another program starts, and dropbear."""

import os
import pwd
import shutil
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from tests.kit import sshd as networks
from tests.kit.cli import run
from tests.kit.sshd import SYSTEM_PROGRAMS, Server

# Binds each pair of paths in a new mount namespace, which ends with the command.
BIND_MOUNT_SCRIPT = 'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit; shift 2; done; shift; exec "$@"'

# tinysshd reads no authorized_keys below a folder that others can write, such as /tmp.
HOME_MOUNT = Path("/mnt")


def find_program(program: str) -> str:
    """The full path of a system program, "" if it is not installed."""
    return shutil.which(program, path=f"{SYSTEM_PROGRAMS}:{os.environ.get('PATH', '')}") or ""


def bind_mount_command(targets: dict[Path, Path]) -> list[str]:
    """The prefix of a command that runs with each of these paths mounted at another."""
    pairs = [str(path) for pair in targets.items() for path in pair]
    unshare = [find_program("unshare"), "--mount", "--propagation", "private"]
    return [*unshare, "sh", "-c", BIND_MOUNT_SCRIPT, "sh", *pairs, "--"]


class WrappedSshd(Server):
    """An sshd that another program starts and then executes, such as `ip netns exec NAME`."""

    def __init__(
        self,
        name: str,
        folder: Path,
        authorized_keys: Path,
        *options: str,
        address: str = networks.LOOPBACK,
        prefix: Sequence[str] = (),
        program: str = "",
    ) -> None:
        super().__init__(name, folder, authorized_keys, *options, address=address)
        self.program = folder / "start"
        words = [*prefix, program or networks.sshd()]
        self.program.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in words) + ' "$@"\n')
        self.program.chmod(0o755)

    def _try_start(self) -> bool:
        with patch.object(networks, "sshd", lambda: str(self.program)):
            return super()._try_start()


class SshdPerConnection(Server):
    """An sshd for each connection, started by tcpserver: the two may run in different namespaces.

    `listen` and `serve` are the prefixes of their commands. So a server listens on this system's loopback, and forwards
    from another network.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        authorized_keys: Path,
        *options: str,
        address: str = networks.LOOPBACK,
        listen: Sequence[str] = (),
        serve: Sequence[str] = (),
    ) -> None:
        super().__init__(name, folder, authorized_keys, *options, address=address)
        self.listen = listen
        self.serve = serve

    def _try_start(self) -> bool:
        configuration = self.write_configuration()
        # It does not look up names, and prints a line when it listens.
        tcpserver = [find_program("tcpserver"), "-vHRDl0", "-c100", self.address, str(self.port)]
        command = [
            *self.listen,
            *tcpserver,
            *self.serve,
            networks.sshd(),
            "-i",
            "-e",
            "-f",
            str(configuration),
        ]
        return self._launch(command, b"tcpserver: status: 0/")


class ServerWithHome(Server):
    """A server that reads authorized_keys in the account's home, which is in the server's folder."""

    @property
    def home_authorized_keys(self) -> Path:
        """The authorized_keys of this user."""
        return self.folder / "home" / ".ssh" / "authorized_keys"

    def in_home(self, *command: str) -> list[str]:
        """The command, run where the account has that home; writes its authorized_keys. Needs root."""
        self.home_authorized_keys.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copy(self.authorized_keys, self.home_authorized_keys)
        account = pwd.getpwuid(os.getuid())
        passwd = self.folder / "passwd"
        passwd.write_text(f"{account.pw_name}:x:{account.pw_uid}:{account.pw_gid}::{HOME_MOUNT}:/bin/sh\n")
        mounts = {passwd: Path("/etc/passwd"), self.folder / "home": HOME_MOUNT}
        return [*bind_mount_command(mounts), *command]


class Dropbear(ServerWithHome):
    """A dropbear. Its options are command-line arguments."""

    def logins(self) -> int:
        return self.log.read_text().count("Pubkey auth succeeded")

    def connections(self) -> int:
        return self.log.read_text().count("Child connection from")

    def _try_start(self) -> bool:
        key = self.folder / "dropbear_key"
        run(find_program("dropbearconvert"), "openssh", "dropbear", self.key, key)
        command = self.in_home(
            *(find_program("dropbear"), "-F", "-E", "-s", "-p", f"{self.address}:{self.port}"),
            *("-r", str(key), "-P", str(self.folder / "pid"), *self.options),
        )
        return self._launch(command, b"Not backgrounding")


class Tinysshd(ServerWithHome):
    """A tinysshd for each connection, started by tcpserver. Its options are command-line arguments."""

    @property
    def public_key(self) -> str:
        return run(find_program("tinysshd-printkey"), self._keys).stdout.strip()

    @property
    def _keys(self) -> Path:
        return self.folder / "tinyssh"

    def _try_start(self) -> bool:
        if not self._keys.exists():
            run(find_program("tinysshd-makekey"), "-q", self._keys)
        command = self.in_home(
            *(find_program("tcpserver"), "-vHRDl0", self.address, str(self.port)),
            *(find_program("tinysshd"), *self.options, str(self._keys)),
        )
        return self._launch(command, b"tcpserver: status: 0/")
