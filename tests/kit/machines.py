"""Machines on this one, in namespaces for network, processes, mounts and host name (namespaces(7)), and their network.

A machine has its own loopback, its own process IDs, /tmp, /run and /etc. Folders that are mounted read this system's
files. It ends with everything that runs on it by `power_off`, or when this process ends, however it ends.
"""

import contextlib
import os
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

from tests.kit import cli
from tests.kit.cli import Result
from tests.kit.gateway_servers import find_program
from tests.kit.mounts import hide_all_but
from tests.kit.sshd import STOP_TIMEOUT_S, SYSTEM_PROGRAMS
from tests.kit.wait import wait_until

# Starts the first process of a machine, which is no child of the test's: a test may power a machine on and leave it on.
# It ends with its standard input, a pipe whose other end only the test's process has.
START_DETACHED = 'exec 3<&0; "$@" <&3 >>"$LOG" 2>&1 3<&- &'
# The init process: ignoring SIGCHLD reaps orphans (wait(2)).
RUN_UNTIL_EOF = "trap '' CHLD; exec cat"


class Machine:
    """A machine with a name, and the files in its folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.log = folder / "setup.log"
        self.pid = 0
        """Of the init process, as this system sees it."""
        self._running: subprocess.Popen[bytes] | None = None
        folder.mkdir(mode=0o755)

    def power_on(
        self, mounts: dict[Path, Path], visible: Iterable[Path], directories: Sequence[str] = ()
    ) -> None:
        """Start it with these files and folders mounted, and these paths of a closed folder open to all accounts.

        `directories` are created in /run and /etc. Raises AssertionError with the log if that fails.
        """
        ready = self.folder / "init_pid"
        ready.unlink(missing_ok=True)
        script = self.folder / "setup.sh"
        script.write_text(_setup(self.name, ready, mounts, visible, directories))
        namespaces = ["--mount", "--uts", "--net", "--pid", "--fork", "--propagation", "private"]
        self._running = subprocess.Popen(
            ["sh", "-c", START_DETACHED, "sh", find_program("unshare"), *namespaces, "sh", str(script)],
            stdin=subprocess.PIPE,
            env={"PATH": SYSTEM_PROGRAMS, "LOG": str(self.log)},
        )
        self._running.wait(STOP_TIMEOUT_S)
        wait_until(
            ready.exists, f"{self.name} is set up: {self.log.read_text() if self.log.exists() else ''}"
        )
        self.pid = int(ready.read_text())

    def power_off(self) -> None:
        """End every process of the machine at once, as a power failure does."""
        if self._running is None:
            return
        processes = [psutil.Process(self.pid), *self.processes()] if self.pid else []
        assert self._running.stdin
        self._running.stdin.close()
        self._running = None
        psutil.wait_procs(processes, STOP_TIMEOUT_S)
        self.pid = 0

    @property
    def is_on(self) -> bool:
        """Whether it was powered on."""
        return self._running is not None

    def command(self, *words: str) -> list[str]:
        """A command that runs on the machine, as root."""
        return [*self.network_command("--mount", "--uts", "--pid"), "--", *words]

    def network_command(self, *more: str) -> list[str]:
        """The prefix of a command that runs on this system with the machine's network."""
        return [find_program("nsenter"), f"--target={self.pid}", "--net", *more]

    def run(self, *words: str, stdin: str = "", check: bool = True) -> Result:
        """Run a program on the machine as root, and wait for it. Raises AssertionError with its output if it fails."""
        return run(self.command(*words), stdin=stdin, check=check)

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Its processes, or those with this name, without the first one and those that ended."""
        namespace = os.readlink(f"/proc/{self.pid}/ns/pid")
        processes = []
        for pid in psutil.pids():
            with contextlib.suppress(psutil.Error, OSError):  # it ended meanwhile
                if pid != self.pid and os.readlink(f"/proc/{pid}/ns/pid") == namespace:
                    process = psutil.Process(pid)
                    if process.status() != psutil.STATUS_ZOMBIE and name in ("", process.name()):
                        processes.append(process)
        return processes


def connect(
    machine: Machine, interface: str, address: str, peer: Machine, peer_interface: str, peer_address: str = ""
) -> None:
    """Connect two machines by a cable (veth(4)). Without a `peer_address`, its end joins the peer's bridge `switch`."""
    ip = find_program("ip")
    end = ["peer", "name", interface, "netns", str(machine.pid)]
    run([*peer.network_command(), ip, "link", "add", peer_interface, "type", "veth", *end])
    _set_up(machine, interface, address)
    if peer_address:
        _set_up(peer, peer_interface, peer_address)
    else:
        peer.run(ip, "link", "set", peer_interface, "master", "switch", "up")


def add_switch(machine: Machine, address: str) -> None:
    """Give the machine a bridge `switch`, through which all machines connected to it reach each other."""
    machine.run("ip", "link", "add", "switch", "type", "bridge")
    _set_up(machine, "switch", address)


def run(command: Sequence[str], stdin: str = "", check: bool = True) -> Result:
    """Run a command, and wait for it. Raises AssertionError with its output if it fails."""
    return cli.run(*command, stdin=stdin, check=check, env={"PATH": SYSTEM_PROGRAMS, "LANG": "C.UTF-8"})


def _set_up(machine: Machine, interface: str, address: str) -> None:
    machine.run("ip", "addr", "add", f"{address}/24", "dev", interface)
    machine.run("ip", "link", "set", interface, "up")


def _setup(
    name: str, ready: Path, mounts: dict[Path, Path], visible: Iterable[Path], directories: Sequence[str]
) -> str:
    """The script that sets the machine up and then becomes its init process."""
    lines = [
        "set -e",
        # This system's /proc still shows the process ID that this system knows.
        "read -r pid rest </proc/self/stat",
        shlex.join(["hostname", name]),
        *hide_all_but(visible, private=[Path("/tmp")]),
        "mount -t proc proc /proc",
        "mount -t tmpfs -o mode=755 tmpfs /run",
        # A copy, so that files can be mounted there that this system does not have.
        "mkdir /run/etc",
        "cp -a /etc/. /run/etc/",
        "mount --bind /run/etc /etc",
        *[shlex.join(["mkdir", "-p", directory]) for directory in directories],
    ]
    for source, target in mounts.items():
        if not source.is_dir():
            lines.append(shlex.join(["touch", str(target)]))
        lines.append(shlex.join(["mount", "--bind", str(source), str(target)]))
    lines += [
        "ip link set lo up",
        shlex.join(["touch", f"{ready}.new"]),
        f'echo "$pid" >{shlex.quote(f"{ready}.new")}',
        shlex.join(["mv", f"{ready}.new", str(ready)]),
        RUN_UNTIL_EOF,
        "",
    ]
    return "\n".join(lines)
