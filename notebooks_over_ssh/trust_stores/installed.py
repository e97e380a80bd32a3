"""The record of installed certificates: a PEM file for each, written before the first store is changed.

So the record has every certificate that an interrupted run left in a store, and without records no store is queried.
"""

from pathlib import Path

from notebooks_over_ssh import state_files
from notebooks_over_ssh.errors import RemoteError, TaskError
from notebooks_over_ssh.jupyter import certificate as certificates
from notebooks_over_ssh.jupyter.certificate import Certificate


def load_all() -> dict[str, Certificate]:
    """Every certificate on record, by its SHA-256."""
    by_sha256 = {}
    for path in state_files.entries(_folder(), ".pem"):
        try:
            certificate = certificates.parse((state_files.read(path) or b"").decode("ascii"))
        except (TaskError, UnicodeDecodeError, RemoteError):
            continue
        by_sha256[certificate.sha256] = certificate
    return by_sha256


def pem_path(certificate: Certificate) -> Path:
    """The path of the certificate's file, for programs that read one."""
    return _folder() / f"{certificate.sha256}.pem"


def save(certificate: Certificate) -> None:
    """Record that the certificate is in trust stores, or is about to be added. Raises TaskError."""
    if certificate.sha256 in load_all():
        return
    state_files.write(pem_path(certificate), certificate.pem.encode("ascii"))


def delete(sha256: str) -> None:
    """Delete the record of a certificate that was removed from every store."""
    state_files.remove(_folder() / f"{sha256}.pem")


def _folder() -> Path:
    return state_files.state_folder("trusted")
