"""What protects the notebook server on the host: its password hash and its certificate, in Jupyter's configuration."""

from __future__ import annotations

from typing import Any

import msgspec

from fabfile.notebooks.answers import ask_in_environment, checked
from fabfile.notebooks.certificate import DAYS
from fabfile.settings import Settings
from fabfile.ssh.connection import Connection

PATIENCE_S = 60


class Protection(msgspec.Struct, frozen=True, kw_only=True):
    """What is in place; `certificate_trouble` says why Jupyter cannot serve with the certificate, "" when it can."""

    host: str
    version: str
    argon2: bool
    has_password: bool
    certificate_pem: str
    certificate_trouble: str
    config: str


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """What is in place after a change."""

    certificate_pem: str
    certificate_trouble: str


def look(connection: Connection, settings: Settings) -> Protection:
    """What is in place on the host; changes nothing. Raises RemoteFailed."""
    return checked(_ask(connection, settings, "look_at_protection", {}), Protection)


def install(
    connection: Connection, settings: Settings, *, password_hash: str = "", own_certificate: str = ""
) -> Installed:
    """Write the hash, and the certificate and key (PEM) where given, into Jupyter's configuration.

    Its other settings stay as they are. Raises RemoteFailed, with everything as it was.
    """
    return _protect(connection, settings, password_hash, own_certificate)


def install_with_new_certificate(
    connection: Connection, settings: Settings, *, password_hash: str = ""
) -> Installed:
    """As `install`, with a certificate that the host makes for itself: its key never leaves it."""
    return _protect(connection, settings, password_hash, "make")


def _protect(connection: Connection, settings: Settings, password_hash: str, certificate: str) -> Installed:
    parameters = {"password_hash": password_hash, "certificate": certificate, "days": DAYS}
    return checked(_ask(connection, settings, "protect", parameters), Installed)


def _ask(
    connection: Connection, settings: Settings, program: str, parameters: dict[str, Any]
) -> dict[str, Any]:
    parameters = {**parameters, "application": settings.notebook.application}
    return ask_in_environment(connection, settings, program, parameters, timeout_s=PATIENCE_S)
