"""The interface of a trust store, and a function to run its programs."""

import subprocess
from pathlib import Path
from typing import Protocol

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.jupyter.certificate import Certificate

# Long enough for the confirmation that macOS and Windows ask the user for.
CONFIRM_TIMEOUT_S = 120


class TrustStore(Protocol):
    """A trust store of one browser, or of the system."""

    @property
    def name(self) -> str:
        """The name shown to the user."""

    def installed_fingerprints(self) -> set[str]:
        """The SHA-256 of every trusted certificate that this program added. Raises TaskError."""

    def add(self, certificate: Certificate, host: str) -> None:
        """Trust the certificate of a server on `host`. Raises TaskError; the store is then unchanged."""

    def remove(self, sha256: str) -> bool:
        """Remove our certificate with this SHA-256; returns whether there was one. Raises TaskError."""


def run(argv: list[str], *, stdin: str = "") -> str:
    """Run a program in a session of its own, without terminal and Ctrl-C, and return its output.

    Raises TaskError with the last line of its output.
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
        raise TaskError(f"cannot run {Path(argv[0]).name}: {error}", hint="try again") from error
    if result.returncode:
        lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
        raise TaskError(f"{Path(argv[0]).name} failed: {lines[-1] if lines else result.returncode}")
    return result.stdout
