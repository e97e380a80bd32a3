"""A Slurm cluster of the tests' own, from Debian's packages: its machines, its daemons, and what may fail there."""

import os
import pwd
import re
import secrets
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest

from tests.kit.accounts import Account, create_account, write_account_files
from tests.kit.gateway_servers import find_program
from tests.kit.leaks import is_alive
from tests.kit.machines import Machine, add_switch, connect
from tests.kit.slurm.configuration import CONTROLLER, NODES, SPOOL, write_configuration
from tests.kit.wait import wait_until

# RFC 5737: addresses for documentation. The gateway and the nodes cannot reach each other.
GATEWAY_ADDRESS, LOGIN_OUTSIDE = "192.0.2.1", "192.0.2.2"
LOGIN_INSIDE = "198.51.100.1"
PROGRAMS = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}
LOG_LINES = 20
USABLE_STATES = ("idle", "mixed", "allocated")
START_TIMEOUT_S = 120
# Slurm takes seconds for most of what is waited for, and a query of it is a program.
POLL_INTERVAL_S = 0.2


class Cluster:
    """A login node, which is the controller too, a gateway before it, and compute nodes behind it.

    All of them share the accounts and the home folders.
    """

    accounting = "AccountingStorageType=accounting_storage/none\n"
    """The lines of slurm.conf(5) about accounting."""

    def __init__(self, folder: Path, packages: Path) -> None:
        folder.chmod(0o755)
        packages.chmod(0o755)
        self.folder = folder
        self.packages = packages
        self.logs = folder / "logs"
        self.state = folder / "state"
        self.homes = folder / "homes"
        self.accounts: list[Account] = []
        self.gateway = Machine("gateway", folder / "gateway")
        self.login = Machine(CONTROLLER, folder / CONTROLLER)
        self.nodes = {node.name: Machine(node.name, folder / node.name) for node in NODES}

    def start(self) -> None:
        """Start the machines and their daemons, and wait until all nodes are idle."""
        for directory in (self.logs, self.state, self.homes, self.folder / "etc"):
            directory.mkdir(mode=0o755)
        write_configuration(
            self.folder / "slurm", LOGIN_INSIDE, self.logs, self.state, NODES, self.accounting
        )
        slurm = pwd.getpwnam("slurm")
        (self.state / "slurmctld").mkdir(mode=0o755)
        os.chown(self.state / "slurmctld", slurm.pw_uid, slurm.pw_gid)
        slurmctld_log = self.logs / "slurmctld.log"
        slurmctld_log.touch()
        os.chown(slurmctld_log, slurm.pw_uid, slurm.pw_gid)
        self._write_munge_key()
        self._write_hosts()
        for machine in (self.gateway, self.login):
            self._power_on(machine)
        connect(self.gateway, "eth0", GATEWAY_ADDRESS, self.login, "outside", LOGIN_OUTSIDE)
        add_switch(self.login, LOGIN_INSIDE)
        self.start_daemon(self.login, "munged")
        self.start_accounting()
        self.start_daemon(self.login, "slurmctld")
        for node in NODES:
            self.power_on(node.name)
        self.wait_until_nodes(("idle",), *self.nodes)

    def start_accounting(self) -> None:
        """Start what slurmctld needs for accounting."""

    def close(self) -> None:
        """End all machines and everything on them."""
        for machine in (*self.nodes.values(), self.login, self.gateway):
            machine.power_off()

    def account(self) -> Account:
        """A new account on all machines."""
        account = create_account(self.homes, self.packages, find_program("bash"))
        self.accounts.append(account)
        write_account_files(self.folder / "etc", self.accounts, {})
        return account

    def power_on(self, name: str) -> None:
        """Start a node and its daemons. The controller takes a moment to know."""
        (node,) = (node for node in NODES if node.name == name)
        machine = self.nodes[name]
        self._power_on(machine)
        connect(machine, "eth0", node.address, self.login, f"to-{name}")
        self.start_daemon(machine, "munged")
        self.start_daemon(machine, "slurmd")

    def power_off(self, name: str) -> None:
        """Cut the power of a node. Slurm marks it down after SlurmdTimeout, and its jobs as NODE_FAIL or requeued."""
        self.nodes[name].power_off()

    def start_daemon(self, machine: Machine, name: str) -> None:
        """Start munged, slurmctld or slurmd, and wait until it is in the background; slurmctld must also answer."""
        command = [find_program(name)]
        if name == "munged":
            munge = pwd.getpwnam("munge")
            log = self.logs / f"munged-{machine.name}.log"
            log.touch(mode=0o640)
            os.chown(log, munge.pw_uid, munge.pw_gid)
            command = [
                *[
                    find_program("setpriv"),
                    f"--reuid={munge.pw_uid}",
                    f"--regid={munge.pw_gid}",
                    "--clear-groups",
                ],
                *[*command, f"--log-file={log}", "--seed-file=/run/munge/seed"],
            ]
        result = machine.run(*command, check=False)
        assert result.returncode == 0, f"{name} on {machine.name}: {result.stderr}{self.log_lines()}"
        if name == "slurmctld":
            self._wait_with_logs(
                lambda: "is UP" in machine.run("scontrol", "ping", check=False).stdout, "slurmctld answers"
            )

    def restart_controller(self) -> None:
        """Start slurmctld again, and wait until it knows the nodes: until then, srun waits for a minute or longer."""
        self.start_daemon(self.login, "slurmctld")
        self.wait_until_nodes(USABLE_STATES, *self.nodes)

    def stop_daemon(self, machine: Machine, name: str) -> None:
        """Stop munged, slurmctld or slurmd, as its service does. Jobs run on.

        slurmctld writes its state; after a SIGKILL it would forget the jobs of the last seconds.
        """
        processes = machine.processes(name)
        for process in processes:
            process.terminate()
        wait_until(lambda: not any(map(is_alive, processes)), f"{name} on {machine.name} has ended")

    def repair(self) -> None:
        """Start what does not run, and let all nodes take jobs."""
        for machine in (self.login, *self.nodes.values()):
            if not machine.is_on:
                self.power_on(machine.name)
            for name in ("munged", "slurmctld" if machine is self.login else "slurmd"):
                if not machine.processes(name):
                    self.start_daemon(machine, name)
        for name, state in self.node_states().items():
            if state not in USABLE_STATES:
                self.login.run("scontrol", "update", f"NodeName={name}", "State=RESUME", check=False)
        self.wait_until_nodes(USABLE_STATES, *self.nodes)

    def scontrol(self, *words: str) -> str:
        """What `scontrol` prints, as root on the login node."""
        return self.login.run("scontrol", *words).stdout

    def count_requests(self) -> Counter[str]:
        """How many requests of each type slurmctld has had (sdiag(1)), without the messages of nodes."""
        by_type = self.login.run("sdiag").stdout.partition("by message type")[2].partition("by user")[0]
        counts = re.findall(r"^\s*(\w+)\s+\(\s*\d+\) count:(\d+)", by_type, re.MULTILINE)
        return Counter(
            {
                name: int(count)
                for name, count in counts
                if name.startswith("REQUEST_") and name != "REQUEST_STATS_INFO"
            }
        )

    def end_in(self, job: str, seconds: int) -> None:
        """Let the job's time limit end then, without a wait of a minute, Slurm's shortest limit."""
        self.scontrol("update", f"JobId={job}", f"EndTime=now+{seconds}")

    def job(self, job: str) -> dict[str, str]:
        """The job as `scontrol show job` describes it."""
        words = self.scontrol("--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_until_job(self, job: str, *states: str) -> None:
        """Wait until the job is in one of these states."""
        self._wait_with_logs(
            lambda: self.job(job)["JobState"] in states, f"job {job} is {' or '.join(states)}"
        )

    def active_jobs(self, account: Account) -> list[str]:
        """The IDs of the account's jobs that wait, run or end."""
        return self.login.run("squeue", "--noheader", "--format=%i", f"--user={account.name}").stdout.split()

    def cancel_all(self, account: Account) -> None:
        """Cancel the account's jobs, and wait until they are gone."""
        self.login.run("scancel", f"--user={account.name}")
        wait_until(lambda: not self.active_jobs(account), f"no job of {account.name} is left")

    def node_states(self) -> dict[str, str]:
        """The state of each node in one word, such as `idle`, `mixed`, `drained` or `down`, as sinfo(1) has it."""
        output = self.login.run("sinfo", "--noheader", "--Node", "--format=%N %T").stdout
        return dict(line.split() for line in output.splitlines())

    def wait_until_nodes(self, states: tuple[str, ...], *names: str) -> None:
        """Wait until each of these nodes is in one of the states, and answers."""
        self._wait_with_logs(
            lambda: all(self.node_states().get(name) in states for name in names),
            f"{', '.join(names)} {' or '.join(states)}",
        )

    def log_lines(self) -> str:
        """The last lines of each daemon's log."""
        parts = []
        for path in sorted(self.logs.iterdir()):
            lines = path.read_text(errors="replace").splitlines()[-LOG_LINES:]
            parts.append("\n".join([f"\n-- {path.name}", *lines]))
        return "\n".join(parts)

    def processes(self, account: Account) -> dict[str, list[psutil.Process]]:
        """The account's processes on each machine that has any."""
        own = {process.pid for process in account.processes()}
        processes_by_machine = {}
        for machine in (self.gateway, self.login, *self.nodes.values()):
            if machine.is_on:
                processes = [process for process in machine.processes() if process.pid in own]
                if processes:
                    processes_by_machine[machine.name] = processes
        return processes_by_machine

    def _wait_with_logs(self, condition: Callable[[], object], description: str) -> None:
        """Wait until the condition is true. Raises AssertionError with the last lines of the logs."""
        try:
            wait_until(condition, description, START_TIMEOUT_S, POLL_INTERVAL_S)
        except AssertionError as error:
            raise AssertionError(f"{error}{self.log_lines()}") from None

    def _power_on(self, machine: Machine) -> None:
        munge_home = self.folder / "munge"
        hosts = "gateway_hosts" if machine is self.gateway else "hosts"
        mounts: dict[Path, Path] = {
            **write_account_files(self.folder / "etc", self.accounts, {}),
            self.folder / "etc" / hosts: Path("/etc/hosts"),
            self.folder / "slurm": Path("/etc/slurm"),
            munge_home: Path("/etc/munge"),
            machine.folder / "munge_run": Path("/run/munge"),
            machine.folder / "slurmd": Path(SPOOL),
        }
        munge = pwd.getpwnam("munge")
        (machine.folder / "munge_run").mkdir(mode=0o755, exist_ok=True)
        (machine.folder / "slurmd").mkdir(mode=0o755, exist_ok=True)
        os.chown(machine.folder / "munge_run", munge.pw_uid, munge.pw_gid)
        programs = [sys.base_prefix, sysconfig.get_path("purelib"), sys.prefix]
        folders = [*map(Path, programs), self.packages, self.folder]
        visible = dict.fromkeys(path.resolve() for path in folders)
        machine.power_on(mounts, visible, ["/etc/slurm", "/etc/munge", "/run/munge", SPOOL, "/run/sshd"])

    def _write_munge_key(self) -> None:
        munge = pwd.getpwnam("munge")
        folder = self.folder / "munge"
        folder.mkdir(mode=0o700)
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        for path in (folder, key):
            os.chown(path, munge.pw_uid, munge.pw_gid)

    def _write_hosts(self) -> None:
        """What each side calls the others: the gateway knows the login node by its outer address."""
        inside = [f"{LOGIN_INSIDE} {CONTROLLER}", *[f"{node.address} {node.name}" for node in NODES]]
        outside = [f"{GATEWAY_ADDRESS} gateway", f"{LOGIN_OUTSIDE} {CONTROLLER}"]
        for name, lines in (("hosts", inside), ("gateway_hosts", outside)):
            (self.folder / "etc" / name).write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))


def skip_unless_supported(programs: Mapping[str, str] = PROGRAMS) -> None:
    """Skip the test where the cluster cannot be created. `programs` are those it needs, and their packages."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make the machines of a cluster")
    for program, package in programs.items():
        if not find_program(program):
            pytest.skip(f"needs the program {program} ({package})")
