"""The argument lists for the programs of macOS and Windows, which are not installed here."""

import json
import sys
from pathlib import Path

import pytest

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.jupyter import certificate as certificates
from notebooks_over_ssh.jupyter.certificate import Certificate
from notebooks_over_ssh.trust_stores import installed as record
from notebooks_over_ssh.trust_stores.base import TrustStore
from notebooks_over_ssh.trust_stores.keychain import keychains
from notebooks_over_ssh.trust_stores.windows import root_stores
from tests.kit.certificates import self_signed
from tests.kit.trust_user import TrustUser

# Records its arguments; a command that lists prints the prepared text.
RECORDER = """#!{python} -S
import json, sys
folder = {folder!r}
with open(folder + "/calls", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + chr(10))
if "find-certificate" in sys.argv or "-store" in sys.argv:
    print(open(folder + "/listing").read())
if sys.argv[1] == "-w":
    print("W:" + sys.argv[2])
"""


class Recorder:
    """A program that only records its arguments."""

    def __init__(self, folder: Path, *names: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.lists("")
        for name in names:
            (folder / name).write_text(RECORDER.format(python=sys.executable, folder=str(folder)))
            (folder / name).chmod(0o755)

    def lists(self, text: str) -> None:
        """Set the output for a command that lists certificates."""
        (self.folder / "listing").write_text(text)

    def calls(self) -> list[list[str]]:
        """The argument lists since the last call."""
        file = self.folder / "calls"
        recorded = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        file.write_text("")
        return recorded


@pytest.fixture
def certificate() -> Certificate:
    """A server's certificate."""
    return certificates.parse(self_signed())


def test_keychain(
    trust_user: TrustUser, certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The login keychain trusts the certificate for TLS, as this user; removing it removes its trust settings too."""
    program = Recorder(tmp_path / "programs", "security")
    monkeypatch.setenv("PATH", str(program.folder))
    keychain = str(trust_user.home / "Library/Keychains/login.keychain-db")
    (store,) = keychains()
    file = _on_record(certificate)

    store.add(certificate, "ashbury")
    assert program.calls() == [
        ["add-trusted-cert", "-r", "trustRoot", "-p", "ssl", "-k", keychain, str(file)]
    ]
    _assert_listed_and_recorded(store, certificate, program)
    program.lists(f"SHA-256 hash: {certificate.sha256.upper()}\nSHA-1 hash: {certificate.sha1.upper()}\n")
    assert store.installed_fingerprints() == {certificate.sha256}
    program.calls()
    assert store.remove(certificate.sha256)
    assert program.calls() == [
        ["find-certificate", "-a", "-Z", keychain],
        ["delete-certificate", "-t", "-Z", certificate.sha1.upper(), keychain],
    ]


def test_root_store(
    trust_user: TrustUser, certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From WSL, the Windows user's Root store gets the certificate, by a Windows path, and loses it again."""
    program = Recorder(tmp_path / "programs", "certutil.exe", "wslpath")
    monkeypatch.setenv("PATH", str(program.folder))
    (store,) = root_stores()
    file = _on_record(certificate)

    store.add(certificate, "ashbury")
    assert program.calls() == [["-w", str(file)], ["-user", "-addstore", "Root", f"W:{file}"]]
    _assert_listed_and_recorded(store, certificate, program)
    program.lists(f"Zertifikathash(sha1): {certificate.sha1}\n")
    assert store.installed_fingerprints() == {certificate.sha256}
    program.calls()
    assert store.remove(certificate.sha256)
    assert program.calls() == [["-user", "-store", "Root"], ["-user", "-delstore", "Root", certificate.sha1]]


def test_refused_by_the_user(
    trust_user: TrustUser, certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the user refuses the system's dialog, the message says so."""
    program = tmp_path / "security"
    program.write_text("#!/bin/sh\necho 'The authorization was canceled by the user.' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (store,) = keychains()
    with pytest.raises(TaskError, match="canceled by the user"):
        store.add(certificate, "ashbury")


def _on_record(certificate: Certificate) -> Path:
    record.save(certificate)
    return record.pem_path(certificate)


def _assert_listed_and_recorded(store: TrustStore, certificate: Certificate, program: Recorder) -> None:
    """Only a certificate that is both on record and in the store is ours to remove."""
    assert store.installed_fingerprints() == set()
    program.lists(f"SHA-256 hash: {'AB' * 32}\nSHA-1 hash: {'CD' * 20}\n")
    assert store.installed_fingerprints() == set()
    assert not store.remove(certificate.sha256)
