"""What every kind of store can do, and how their programs are run."""

import subprocess
from pathlib import Path
from typing import Protocol

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.jupyter.certificate import Certificate

# Long enough for a person who is asked to confirm, as macOS and Windows do.
CONFIRM_TIMEOUT_S = 120


class TrustStore(Protocol):
    """One store of one browser, or of the system."""

    @property
    def name(self) -> str:
        """What the user knows it by."""

    def installed_fingerprints(self) -> set[str]:
        """The SHA-256 of every certificate that was put here by us and is trusted here. Raises TaskError."""

    def add(self, certificate: Certificate, host: str) -> None:
        """Let the certificate, of a server on this host, be trusted. Raises TaskError, with nothing changed."""

    def remove(self, sha256: str) -> bool:
        """Take out our certificate with this SHA-256; returns whether it was there. Raises TaskError."""


def run(argv: list[str], *, stdin: str = "") -> str:
    """What a program printed. It gets no terminal to ask at, and Ctrl-C does not stop it halfway.

    Raises TaskError with the last that it said.
    """
    try:
        result = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=CONFIRM_TIMEOUT_S,
            start_new_session=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TaskError(f"{Path(argv[0]).name} did not run: {error}", hint="try again") from error
    if result.returncode:
        lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
        raise TaskError(f"{Path(argv[0]).name} failed: {lines[-1] if lines else result.returncode}")
    return result.stdout
