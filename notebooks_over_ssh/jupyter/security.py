"""What protects the notebook server on the host: its password hash and its certificate, in Jupyter's configuration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.jupyter.remote_result import RemoteScriptError, decode, run_in_environment
from notebooks_over_ssh.remote_scripts.jupyter_traits import TRAITS
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.util.command_hint import command

TIMEOUT_S = 60
LIFETIME = timedelta(days=366)
NEW_CERTIFICATE = "make"
UTC_TIME = "%y%m%d%H%M%SZ"  # RFC 5280, section 4.1.2.5.1


class InsecureSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting in one of Jupyter's configuration files that undoes the protection."""

    path: str
    name: str
    """Class and trait, as in `ServerApp.ip`."""
    value: str
    """As Python writes it; "" where it is a secret, or only running the file would tell."""
    is_owned: bool
    """Whether the file is the account's own, so that the setting can be set aside."""

    @property
    def setting(self) -> str:
        """The setting as the file has it, without what is secret."""
        return f"{self.name} = {self.value}" if self.value else self.name

    @property
    def explanation(self) -> str:
        """What the setting did, and what holds now that it is set aside."""
        trait = TRAITS.get(self.name.rpartition(".")[2])
        return trait.effect if trait and trait.effect else "it undid the protection"


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """A file or folder of the account's that Jupyter reads and that others could change or read."""

    path: str
    problem: Literal["writable", "readable"]

    @property
    def explanation(self) -> str:
        """What others could do, and what the user should look at now that they cannot."""
        if self.problem == "readable":
            return (
                "others could read it, and no longer can; a password hash in it may be known: "
                f"{command('secure --renew')} sets another password"
            )
        return "others could change it, and no longer can; check that what is there is yours"


class SecurityStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is in place; the troubles say why password and certificate are no good, "" when they are."""

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
    """Tells this password and certificate from those of another time."""
    stale_server_pid: int
    """The process of the server that runs with an older password or certificate; 0 when none does."""
    time: Annotated[float, msgspec.Meta(ge=0, le=1e11)]
    """Of the host's clock, in seconds since 1970."""


class SecurityUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What is in place after a change, what contradicted it and is set aside where it is the account's, and the copies of that."""

    certificate_pem: str
    certificate_problem: str
    insecure_settings: tuple[InsecureSetting, ...]
    exposed: tuple[Exposure, ...]
    """What others could change or read until then."""
    backups: tuple[str, ...]
    stale_server_pid: int


def get_status(connection: Connection, settings: Settings) -> SecurityStatus:
    """What is in place on the host; changes nothing.

    Raises RemoteError, also where the server could not start in its directory, or where an account other than this
    one and root can change what Jupyter reads and only they can undo that.
    """
    return decode(_run(connection, settings, "security_status", {}), SecurityStatus)


def install(
    connection: Connection, settings: Settings, found: SecurityStatus, *, password_hash: str, certificate: str
) -> SecurityUpdate:
    """Write the hash and the certificate, where given, into Jupyter's configuration; its other settings stay as they are.

    `certificate` is PEM with its key, or NEW_CERTIFICATE for one that the host makes: its key never leaves it.
    Raises TaskError where password and certificate are no longer those in `found`, and RemoteError; all is as it was then.
    """
    # By the clock of the machine whose browser will look at it; a day early, for other machines' clocks.
    not_before = datetime.now(UTC) - timedelta(days=1)
    parameters = {
        "credentials_digest": found.credentials_digest,
        "password_hash": password_hash,
        "certificate": certificate,
        "not_before": not_before.strftime(UTC_TIME),
        "not_after": (not_before + LIFETIME).strftime(UTC_TIME),
    }
    try:
        return decode(_run(connection, settings, "configure_security", parameters), SecurityUpdate)
    except RemoteScriptError as obstructed:
        if obstructed.problem == "credentials-changed":
            raise TaskError(
                f"another command set the password or certificate on {connection.label} meanwhile, so this one set nothing",
                hint=f"use what the other set, or set another: {command('secure --renew')}",
            ) from None
        raise


def _run(
    connection: Connection, settings: Settings, program: str, parameters: dict[str, Any]
) -> dict[str, Any]:
    notebook = settings.notebook
    parameters = {**parameters, "application": notebook.application, "directory": notebook.directory}
    return run_in_environment(connection, settings, program, parameters, timeout_s=TIMEOUT_S)
