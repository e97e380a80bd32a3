"""A cluster with accounts and limits, which Slurm keeps in a database: slurmdbd and MariaDB on the login node."""

import os
import pwd
import shlex

from tests.kit.accounts import Account
from tests.kit.gateway_servers import find_program
from tests.kit.slurm.cluster import LOGIN_INSIDE, Cluster
from tests.kit.slurm.configuration import CLUSTER_NAME, CONTROLLER
from tests.kit.wait import wait_until

PROGRAMS = {
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "mariadb": "mariadb-client",
    "slurmdbd": "slurmdbd",
}
# The data is in memory, and gone with the machine.
MARIADB_OPTIONS = """\
[mariadbd]
user=mysql
datadir=/run/mysqld/data
socket=/run/mysqld/mysqld.sock
pid-file=/run/mysqld/pid
log-error={log}
skip-networking
innodb_buffer_pool_size=64M
innodb_log_file_size=16M
performance_schema=OFF
"""
SLURMDBD_OPTIONS = f"""\
AuthType=auth/munge
DbdHost={CONTROLLER}
DbdAddr={LOGIN_INSIDE}
SlurmUser=slurm
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc=slurm
PidFile=/run/slurmdbd/pid
"""
CREATE_DATABASE = (
    "create database slurm; create user slurm@localhost identified via unix_socket; "
    "grant all on slurm.* to slurm@localhost"
)
ACCOUNT = "lab"
"""The account of Slurm that all users have."""


class AccountedCluster(Cluster):
    """A cluster on which only users of the account `lab` may submit jobs, within their limits."""

    accounting = f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={CONTROLLER}
AccountingStorageEnforce=associations,limits
"""

    def account(self) -> Account:
        account = super().account()
        self._sacctmgr("add", "user", account.name, f"Account={ACCOUNT}")
        self._wait_for_association(account, account.name)
        return account

    def set_limit(self, account: Account, limit: str, value: int) -> None:
        """Set a limit of sacctmgr(1) for the account, such as MaxSubmitJobs."""
        self._sacctmgr("modify", "user", "where", f"name={account.name}", "set", f"{limit}={value}")
        self._wait_for_association(account, f"{limit}={value}")

    def start_accounting(self) -> None:
        self._start_mariadb()
        slurm = pwd.getpwnam("slurm")
        configuration, log = self.folder / "slurm" / "slurmdbd.conf", self.logs / "slurmdbd.log"
        configuration.write_text(f"{SLURMDBD_OPTIONS}LogFile={log}\n")
        configuration.chmod(0o600)
        log.touch()
        for path in (configuration, log):
            os.chown(path, slurm.pw_uid, slurm.pw_gid)
        self.login.run("install", "-d", "-o", "slurm", "/run/slurmdbd")
        self.login.run(find_program("slurmdbd"))
        self._wait_with_logs(
            lambda: self.login.run("sacctmgr", "-n", "show", "cluster", check=False).returncode == 0,
            "slurmdbd answers",
        )
        self._sacctmgr("add", "cluster", CLUSTER_NAME)
        self._sacctmgr("add", "account", ACCOUNT)

    def _start_mariadb(self) -> None:
        mysql = pwd.getpwnam("mysql")
        log = self.logs / "mariadb.log"
        log.touch()
        os.chown(log, mysql.pw_uid, mysql.pw_gid)
        options = self.folder / "mariadb.cnf"
        options.write_text(MARIADB_OPTIONS.format(log=log))
        self.login.run("install", "-d", "-o", "mysql", "/run/mysqld", "/run/mysqld/data")
        defaults = f"--defaults-file={options}"
        authentication = "--auth-root-authentication-method=socket"
        self.login.run("mariadb-install-db", defaults, "--skip-test-db", authentication)
        mariadbd = shlex.join([find_program("mariadbd"), defaults])
        self.login.run("sh", "-c", f"setsid {mariadbd} </dev/null >/dev/null 2>&1 &")
        self._wait_with_logs(
            lambda: self.login.run("mariadb", "-e", "select 1", check=False).returncode == 0,
            "MariaDB answers",
        )
        self.login.run("mariadb", "-e", CREATE_DATABASE)

    def _sacctmgr(self, *words: str) -> None:
        self.login.run("sacctmgr", "--immediate", *words)

    def _wait_for_association(self, account: Account, text: str) -> None:
        """Wait until slurmctld has been told by slurmdbd."""
        words = ("scontrol", "--oneliner", "show", "assoc_mgr", f"users={account.name}", "flags=assoc")
        wait_until(lambda: text in self.login.run(*words).stdout.partition("Association Records")[2], text)
