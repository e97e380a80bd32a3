"""Which certificates were put into stores: on this machine, a PEM file for each, written before the first store is changed.

So what an interrupted run has left in some store is found again, and where nothing was ever put, no store is asked.
"""

import os
import tempfile
from pathlib import Path

from platformdirs import user_state_path

from notebooks_over_ssh.errors import RemoteFailed
from notebooks_over_ssh.jupyter import certificate as certificates
from notebooks_over_ssh.jupyter.certificate import Certificate


def known() -> dict[str, Certificate]:
    """Every certificate on record, by its SHA-256."""
    found = {}
    for path in _folder().glob("*.pem"):
        try:
            certificate = certificates.parse(path.read_text("ascii"))
        except (OSError, UnicodeDecodeError, RemoteFailed):
            continue
        found[certificate.sha256] = certificate
    return found


def file_of(certificate: Certificate) -> Path:
    """The certificate's file, for programs that read one."""
    return _folder() / f"{certificate.sha256}.pem"


def remember(certificate: Certificate) -> None:
    """Record that the certificate is in stores, or about to be."""
    if certificate.sha256 in known():
        return
    _folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=_folder())
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(certificate.pem)
        os.replace(draft, file_of(certificate))
    except BaseException:
        os.unlink(draft)
        raise


def forget(sha256: str) -> None:
    """Record that it is in no store any more."""
    (_folder() / f"{sha256}.pem").unlink(missing_ok=True)


def _folder() -> Path:
    return user_state_path("notebooks-over-ssh") / "trusted"
