"""A Kerberos realm of the test's own: an MIT key distribution center (krb5kdc(8)) on loopback."""

import os
import subprocess
from getpass import getuser
from pathlib import Path

import pytest

from tests.kit.cli import run
from tests.kit.ports import free_port
from tests.kit.sshd import LOOPBACK
from tests.kit.wait import TIMEOUT_S, wait_until

REALM = "TEST.INVALID"
PASSWORD = "the password of the principal"
SERVICE_HOST = "localhost"
"""The host in the principal of every sshd of the tests."""
SSHD_OPTIONS = (
    "GSSAPIAuthentication yes",
    # The keytab has a principal for a name that is not this machine's.
    "GSSAPIStrictAcceptorCheck no",
)
ACCEPT_TICKETS_ONLY = (*SSHD_OPTIONS, "AuthenticationMethods gssapi-with-mic")


class Realm:
    """The realm, with this user and the service `host/localhost` as its principals."""

    def __init__(self, folder: Path) -> None:
        """Create the database. Skips the test if the package gssapi, or the user's right to run sshd, is missing."""
        pytest.importorskip("gssapi", reason="needs the Python package gssapi (uv sync --extra kerberos)")
        self.folder = folder
        self.keytab = folder / "keytab"
        self.cache = folder / "ccache"
        self.principal = f"{getuser()}@{REALM}"
        self._log = folder / "kdc.log"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        self._write_configuration(free_port())
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "the master key of the tests")
        self._run("kadmin.local", "-q", f'add_principal -maxrenewlife 7d -pw "{PASSWORD}" {self.principal}')
        self._run("kadmin.local", "-q", f"add_principal -randkey host/{SERVICE_HOST}@{REALM}")
        self._run("kadmin.local", "-q", f"ktadd -k {self.keytab} host/{SERVICE_HOST}@{REALM}")

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which programs find the realm, and the cache of tickets."""
        return {"KRB5_CONFIG": str(self.folder / "krb5.conf"), "KRB5CCNAME": f"FILE:{self.cache}"}

    @property
    def server_environment(self) -> dict[str, str]:
        """The variables with which an sshd finds its key."""
        return {"KRB5_CONFIG": str(self.folder / "krb5.conf"), "KRB5_KTNAME": str(self.keytab)}

    def start(self) -> None:
        """Start the key distribution center."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["krb5kdc", "-n", "-r", REALM],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: b"commencing operation" in self._log.read_bytes(), "krb5kdc listens")

    def close(self) -> None:
        """Stop it; tickets that were obtained remain valid."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(TIMEOUT_S)
            self._process = None

    def get_ticket(self, *options: str) -> None:
        """Obtain a ticket for the user (kinit(1)), forwardable and for a day without other options."""
        self._run("kinit", "-f", *options, self.principal, stdin=f"{PASSWORD}\n")

    def _write_configuration(self, port: int) -> None:
        (self.folder / "krb5.conf").write_text(f"""\
[libdefaults]
    default_realm = {REALM}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    udp_preference_limit = 1
[realms]
    {REALM} = {{
        kdc = {LOOPBACK}:{port}
    }}
[domain_realm]
    {SERVICE_HOST} = {REALM}
""")
        (self.folder / "kdc.conf").write_text(f"""\
[kdcdefaults]
    kdc_listen = {LOOPBACK}:{port}
    kdc_tcp_listen = {LOOPBACK}:{port}
[realms]
    {REALM} = {{
        database_name = {self.folder}/principal
        key_stash_file = {self.folder}/stash
        max_life = 1d
        max_renewable_life = 7d
        supported_enctypes = aes256-cts-hmac-sha1-96:normal
    }}
[logging]
    kdc = FILE:{self._log}
""")

    def _environment(self) -> dict[str, str]:
        path = f"/usr/sbin:{os.environ['PATH']}"
        return {"PATH": path, "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf"), **self.environment}

    def _run(self, *command: str, stdin: str = "") -> None:
        run(*command, env=self._environment(), stdin=stdin)
