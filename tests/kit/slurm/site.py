"""The way to the cluster, as at many sites: a gateway on the loopback, and a login node that it alone reaches.

Users have accounts on all machines.
"""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.kit.accounts import Account
from tests.kit.cli import Result, User, assert_success
from tests.kit.gateway_servers import SshdPerConnection
from tests.kit.slurm.cluster import LOGIN_OUTSIDE, Cluster
from tests.kit.slurm.configuration import CONTROLLER
from tests.kit.sshd import GATEWAY_OPTIONS, make_key
from tests.kit.wait import wait_until

SSH_PORT = 22


class Site:
    """A running cluster, and sshd on the gateway and on the login node."""

    def __init__(self, cluster: Cluster) -> None:
        folder = cluster.folder
        self.cluster = cluster
        self.keys = folder / "authorized_keys"
        self.keys.mkdir(mode=0o755)
        self.gateway = SshdPerConnection(
            "gateway",
            folder / "gateway_sshd",
            self.keys / "%u",
            *("AllowTcpForwarding yes", *GATEWAY_OPTIONS),
            serve=cluster.gateway.command(),
        )
        self.login = SshdPerConnection(
            "login node",
            folder / "login_sshd",
            self.keys / "%u",
            "SetEnv LANG=C.UTF-8",
            address=LOGIN_OUTSIDE,
            listen=cluster.login.network_command(),
            serve=cluster.login.command(),
        )
        self.login.port = SSH_PORT

    def start(self) -> None:
        """Start both."""
        self.gateway.start()
        self.login.start()

    def close(self) -> None:
        """Stop both and all logins."""
        self.login.stop()
        self.gateway.stop()


@dataclass(frozen=True, kw_only=True)
class ClusterUser(User):
    """A user of the cluster: an account there, and here a home folder with a key and settings that lead there."""

    account: Account
    site: Site

    @property
    def key(self) -> Path:
        """The private key that logs in on the gateway and on the login node."""
        return self.home / ".ssh" / "test_key"

    @property
    def cluster(self) -> Cluster:
        """The cluster."""
        return self.site.cluster

    def configure(self, *, notebook: dict[str, Any] | None = None, **settings: Any) -> None:
        """Write ~/.invoke.yaml, which leads to the login node through the gateway, with these changes."""
        config = {
            "user": self.account.name,
            "gateway": self.site.gateway.destination,
            "connect_kwargs": {"key_filename": str(self.key)},
            **settings,
            "notebook": {"host": CONTROLLER, "open_browser": False, **(notebook or {})},
        }
        (self.home / ".invoke.yaml").write_text(yaml.safe_dump(config))

    def status(self) -> list[dict[str, Any]]:
        """The output of `status --json`, with the present states of the jobs."""
        self.forget_queries()
        return super().status()

    def forget_queries(self) -> None:
        """Let the next command query Slurm itself."""
        for path in self.account.home.glob(".local/state/notebooks-over-ssh/jobs/*/last_query.json"):
            path.unlink(missing_ok=True)

    def ssh_command(self, *words: str) -> list[str]:
        """A command that runs a program on the login node, by OpenSSH's client through the gateway."""
        return ["ssh", "-F", str(self.home / ".ssh" / "config"), CONTROLLER, shlex.join(words)]

    def ssh(self, *words: str, stdin: str = "") -> Result:
        """Run a program on the login node, and wait for it."""
        return self.execute(self.ssh_command(*words), stdin)

    def wait_until_empty(self) -> None:
        """End the logins that are kept, and wait until the user has no process on the cluster."""
        self.end_logins()
        wait_until(lambda: self.cluster.processes(self.account) == {}, "no process is left on the cluster")

    def submit(self, *words: str, script: str = "sleep 1000") -> str:
        """Submit a job with these arguments of sbatch(1), and return its ID. It leaves no output file."""
        options = ["--parsable", "--output=/dev/null", *words]
        return assert_success(self.ssh("sbatch", *options, stdin=f"#!/bin/sh\n{script}\n")).stdout.strip()

    @contextmanager
    def running_job(self, *words: str) -> Iterator[str]:
        """A job with these arguments of sbatch(1) runs during the body, and others wait behind it; yields its ID."""
        job = self.submit(*words)
        try:
            self.cluster.wait_until_job(job, "RUNNING")
            yield job
        finally:
            self.cluster.cancel_all(self.account)


def create_user(site: Site, home: Path, temporary: Path) -> ClusterUser:
    """A user with a new account, who logs in with a key of their own and knows the host keys."""
    account = site.cluster.account()
    user = ClusterUser(home, temporary, account=account, site=site)
    user.key.parent.mkdir(mode=0o700)
    make_key(user.key)
    (site.keys / account.name).write_text(user.key.with_suffix(".pub").read_text())
    known_hosts = user.home / ".ssh" / "known_hosts"
    known_hosts.write_text(f"{site.gateway.known_hosts_line}\n{CONTROLLER} {site.login.public_key}\n")
    (user.home / ".ssh" / "config").write_text(
        f"""\
Host gateway
    HostName {site.gateway.address}
    Port {site.gateway.port}
Host {CONTROLLER}
    ProxyJump gateway
Host *
    User {account.name}
    IdentityFile {user.key}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
    GlobalKnownHostsFile /dev/null
    BatchMode yes
"""
    )
    user.configure()
    return user
