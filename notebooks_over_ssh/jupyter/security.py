"""The password hash and certificate of the server on the host, and the settings and files that would undo them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.jupyter.remote_result import RemoteScriptError, decode, run_in_environment
from notebooks_over_ssh.jupyter.server import StartedServer
from notebooks_over_ssh.remote_scripts.jupyter_traits import TRAITS
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.util.command_hint import command

TIMEOUT_S = 60
LIFETIME = timedelta(days=366)
NEW_CERTIFICATE = "make"
UTC_TIME = "%y%m%d%H%M%SZ"  # RFC 5280, section 4.1.2.5.1


class InsecureSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting in a configuration file of Jupyter that undoes the protection."""

    path: str
    name: str
    """Class and trait, as in `ServerApp.ip`."""
    value: str
    """The repr of the value; "" if it is a secret, or is computed when the file runs."""
    is_owned: bool
    """Whether the file is the account's own, so that `secure` can disable the setting."""

    @property
    def setting(self) -> str:
        """The setting as an assignment, without a secret value."""
        return f"{self.name} = {self.value}" if self.value else self.name

    @property
    def explanation(self) -> str:
        """The effect of the setting, and the state now that it is disabled."""
        trait = TRAITS.get(self.name.rpartition(".")[2])
        return trait.effect if trait and trait.effect else "it undid the protection"


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """A file or folder of the account that Jupyter reads, and that others could change or read."""

    path: str
    problem: Literal["writable", "readable"]

    @property
    def explanation(self) -> str:
        """What others could do, and what the user should check now that they cannot."""
        if self.problem == "readable":
            return (
                "others could read it, but no longer can; they may know a password hash in it: "
                f"{command('secure --renew')} sets another password"
            )
        return "others could change it, but no longer can; check that its contents are yours"


class SecurityStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state on the host. `password_problem` and `certificate_problem` are "" if there is none."""

    host: str
    version: str
    argon2: bool
    password_hash: str
    password_problem: str
    certificate_pem: str
    certificate_problem: str
    insecure_settings: tuple[InsecureSetting, ...]
    exposed: tuple[Exposure, ...]
    credentials_digest: str
    """A digest of the password hash and the certificate, which changes when either does."""
    stale_server_pid: int
    """The PID of the server if it runs with an older password or certificate, else 0."""
    running_server: StartedServer | None
    """The server if it runs with the current password and certificate, and answers."""
    time: Annotated[float, msgspec.Meta(ge=0, le=1e11)]
    """The time of the host's clock, in seconds since 1970."""


class SecurityUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """The state on the host after a change.

    `insecure_settings` were found, and disabled if `is_owned`; `backups` are the paths of copies of the old files.
    """

    certificate_pem: str
    certificate_problem: str
    insecure_settings: tuple[InsecureSetting, ...]
    exposed: tuple[Exposure, ...]
    """The files and folders that others could change or read before."""
    backups: tuple[str, ...]
    stale_server_pid: int


def get_status(connection: Connection, settings: Settings) -> SecurityStatus:
    """The state on the host. Changes nothing.

    Raises RemoteError, also if the server could not start in its directory, or if another account can change files that
    Jupyter reads and this account cannot prevent it.
    """
    return decode(_run(connection, settings, "security_status", {}), SecurityStatus)


def install(
    connection: Connection,
    settings: Settings,
    status: SecurityStatus,
    *,
    password_hash: str,
    certificate: str,
) -> SecurityUpdate:
    """Write the hash and the certificate, unless empty, to Jupyter's configuration. Other settings stay as they are.

    `certificate` is PEM with its key, or NEW_CERTIFICATE to have the host make one, whose key never leaves the host.
    Raises RemoteError, and TaskError if password or certificate have changed since `status` was read; then nothing is
    changed.
    """
    # Browsers check the dates by this machine's clock; a day early, for the clocks of other machines.
    not_before = datetime.now(UTC) - timedelta(days=1)
    parameters = {
        "credentials_digest": status.credentials_digest,
        "password_hash": password_hash,
        "certificate": certificate,
        "not_before": not_before.strftime(UTC_TIME),
        "not_after": (not_before + LIFETIME).strftime(UTC_TIME),
    }
    try:
        return decode(_run(connection, settings, "configure_security", parameters), SecurityUpdate)
    except RemoteScriptError as error:
        if error.problem == "credentials-changed":
            raise TaskError(
                f"another command set the password or certificate on {connection.label} meanwhile;"
                " this one changed nothing",
                hint=f"use those, or set new ones: {command('secure --renew')}",
            ) from None
        raise


def _run(
    connection: Connection, settings: Settings, program: str, parameters: dict[str, Any]
) -> dict[str, Any]:
    notebook = settings.notebook
    parameters = {**parameters, "application": notebook.application, "directory": notebook.directory}
    return run_in_environment(connection, settings, program, parameters, timeout_s=TIMEOUT_S)
