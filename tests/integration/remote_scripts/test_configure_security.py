"""configure_security.py writes the hash and the certificate, whatever else the configuration contains."""

import json
import resource
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.kit.local_scripts import HASH, VALIDITY, configure, get_status, run_locally

pytestmark = pytest.mark.usefixtures("host_environment")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Where jupyter_server 2 reads its configuration (jupyter_core.paths.jupyter_config_dir)."""
    return tmp_path / ".jupyter" / "jupyter_server_config.json"


def test_empty_home(tmp_path: Path, config: Path) -> None:
    """In an empty home both are created, private in spite of a permissive umask."""
    assert get_status(tmp_path)["certificate_problem"] == "missing"
    assert configure(tmp_path)["problem"] == ""
    separator = get_status(tmp_path)
    assert (separator["password_problem"], separator["certificate_problem"]) == ("", "")
    for path in [config.parent, *config.parent.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
    assert sorted(path.name for path in (config.parent / "notebooks-over-ssh").iterdir()) == [
        "lock",
        "server.pem",
    ]


def test_certificate(tmp_path: Path) -> None:
    """The certificate is a P-256 leaf for localhost and both loopback addresses, for servers, valid for the requested
    time.
    """
    pem = configure(tmp_path)["certificate_pem"]
    loaded = x509.load_pem_x509_certificate(pem.encode())
    key = loaded.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert not loaded.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = loaded.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert loaded.not_valid_before_utc == datetime(2026, 1, 1, tzinfo=UTC)
    assert loaded.not_valid_after_utc == datetime(2036, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_other_settings_stay(tmp_path: Path, config: Path) -> None:
    """The user's other settings stay as they are; a second run with the same hash changes no byte."""
    config.parent.mkdir()
    theirs: dict[str, dict[str, Any]] = {
        "ServerApp": {"root_dir": "/home/é", "terminals_enabled": False},
        "Mine": {"list": [1, {"a": None}]},
    }
    config.write_text(json.dumps(theirs))
    configure(tmp_path)
    after = json.loads(config.read_text())
    assert after["Mine"] == theirs["Mine"]
    assert after["ServerApp"].items() >= theirs["ServerApp"].items()
    assert after["IdentityProvider"] == {"hashed_password": HASH}
    preexec = config.read_bytes(), config.stat().st_mtime_ns
    configure(tmp_path, certificate="")
    assert (config.read_bytes(), config.stat().st_mtime_ns) == preexec


@pytest.mark.parametrize("text", ["{not json", "[1, 2]", '{"ServerApp": 3}', "\udcff\udcfe"])
def test_invalid_configuration(tmp_path: Path, config: Path, text: str) -> None:
    """An invalid configuration is reported by name, and not a byte of it changes."""
    config.parent.mkdir()
    config.write_bytes(text.encode("utf-8", "surrogateescape"))
    for reply in (get_status(tmp_path), configure(tmp_path)):
        assert (reply["problem"], reply["path"]) == ("config-unreadable", str(config))
    assert config.read_bytes() == text.encode("utf-8", "surrogateescape")


def test_symlink(tmp_path: Path, config: Path) -> None:
    """A configuration that is a symlink is changed at its target."""
    config.parent.mkdir()
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    config.symlink_to(real)
    configure(tmp_path)
    assert config.is_symlink()
    assert "IdentityProvider" in json.loads(real.read_text())


def test_full_disk(tmp_path: Path, config: Path) -> None:
    """On a full disk the old configuration and certificate stay intact, and the cause is reported."""
    configure(tmp_path)
    pem = config.parent / "notebooks-over-ssh" / "server.pem"
    preexec = config.read_bytes(), pem.read_bytes()
    full = {
        "application": "notebook",
        "password_hash": HASH + "x",
        "certificate": pem.read_text(),
        "directory": "~",
        "credentials_digest": get_status(tmp_path)["credentials_digest"],
        **VALIDITY,
    }

    def disk_full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    reply = run_locally(tmp_path, "configure_security", full, preexec=disk_full)
    assert (reply["problem"], reply["reason"], reply["code"]) == (
        "system-error",
        "File too large",
        "EFBIG",
    )
    assert (config.read_bytes(), pem.read_bytes()) == preexec
    assert [path.name for path in config.parent.rglob(".*")] == []


@pytest.mark.parametrize("certificate", ["make", ""])
def test_changed_meanwhile(tmp_path: Path, config: Path, certificate: str) -> None:
    """When the password or the certificate has changed since it was read, no file changes, and the reply says so."""
    digest = get_status(tmp_path)["credentials_digest"]
    configure(tmp_path)
    preexec = {path: path.read_bytes() for path in config.parent.rglob("*") if path.is_file()}
    reply = configure(tmp_path, password_hash=HASH + "x", certificate=certificate, credentials_digest=digest)
    assert reply["problem"] == "credentials-changed"
    assert {path: path.read_bytes() for path in config.parent.rglob("*") if path.is_file()} == preexec


def test_readable_key(tmp_path: Path, config: Path) -> None:
    """A key that other users can read is reported."""
    configure(tmp_path)
    (config.parent / "notebooks-over-ssh" / "server.pem").chmod(0o644)
    assert get_status(tmp_path)["certificate_problem"] == "others can read the key"


def test_certificate_of_another_key(tmp_path: Path, config: Path) -> None:
    """A certificate that does not belong to the key is reported."""
    configure(tmp_path)
    pem = config.parent / "notebooks-over-ssh" / "server.pem"
    first = pem.read_text()
    configure(tmp_path)
    certificate = pem.read_text()[pem.read_text().index("-----BEGIN CERTIFICATE") :]
    pem.write_text(first[: first.index("-----BEGIN CERTIFICATE")] + certificate)
    assert "unusable" in get_status(tmp_path)["certificate_problem"]
