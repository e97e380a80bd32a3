"""protect.py sets the hash and the certificate, whatever else is in the configuration."""

import json
import resource
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.scripts.here import HASH, VALIDITY, look, protect, run_here

pytestmark = pytest.mark.usefixtures("host_environment")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Where jupyter_server 2 reads its configuration (jupyter_core.paths.jupyter_config_dir)."""
    return tmp_path / ".jupyter" / "jupyter_server_config.json"


def test_from_nothing(tmp_path: Path, config: Path) -> None:
    """In an empty home both are made, private from all others though the umask lets everything through."""
    assert look(tmp_path)["certificate_trouble"] == "missing"
    assert protect(tmp_path)["problem"] == ""
    found = look(tmp_path)
    assert (found["password_trouble"], found["certificate_trouble"]) == ("", "")
    for path in [config.parent, *config.parent.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
    assert sorted(path.name for path in (config.parent / "notebooks-over-ssh").iterdir()) == [
        "lock",
        "server.pem",
    ]


def test_the_certificate(tmp_path: Path) -> None:
    """It is a leaf of P-256 for localhost and both loopback addresses, for a server, and valid as long as it was asked for."""
    pem = protect(tmp_path)["certificate_pem"]
    made = x509.load_pem_x509_certificate(pem.encode())
    key = made.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert made.not_valid_before_utc == datetime(2026, 1, 1, tzinfo=UTC)
    assert made.not_valid_after_utc == datetime(2036, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_other_settings_stay(tmp_path: Path, config: Path) -> None:
    """What the user had set stays as it was; a second run with the same hash changes no byte."""
    config.parent.mkdir()
    theirs: dict[str, dict[str, Any]] = {
        "ServerApp": {"root_dir": "/home/é", "terminals_enabled": False},
        "Mine": {"list": [1, {"a": None}]},
    }
    config.write_text(json.dumps(theirs))
    protect(tmp_path)
    after = json.loads(config.read_text())
    assert after["Mine"] == theirs["Mine"]
    assert after["ServerApp"].items() >= theirs["ServerApp"].items()
    assert after["IdentityProvider"] == {"hashed_password": HASH}
    before = config.read_bytes(), config.stat().st_mtime_ns
    protect(tmp_path, certificate="")
    assert (config.read_bytes(), config.stat().st_mtime_ns) == before


@pytest.mark.parametrize("text", ["{not json", "[1, 2]", '{"ServerApp": 3}', "\udcff\udcfe"])
def test_an_unreadable_configuration_is_left(tmp_path: Path, config: Path, text: str) -> None:
    """A configuration that makes no sense is named, and not a byte of it changes."""
    config.parent.mkdir()
    config.write_bytes(text.encode("utf-8", "surrogateescape"))
    for answer in (look(tmp_path), protect(tmp_path)):
        assert (answer["problem"], answer["path"]) == ("config-unreadable", str(config))
    assert config.read_bytes() == text.encode("utf-8", "surrogateescape")


def test_a_link_stays_a_link(tmp_path: Path, config: Path) -> None:
    """A configuration that is a link to a file elsewhere is changed there."""
    config.parent.mkdir()
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    config.symlink_to(real)
    protect(tmp_path)
    assert config.is_symlink()
    assert "IdentityProvider" in json.loads(real.read_text())


def test_a_full_disk_loses_nothing(tmp_path: Path, config: Path) -> None:
    """When nothing more can be written, the old configuration and certificate are whole, and the cause is told."""
    protect(tmp_path)
    pem = config.parent / "notebooks-over-ssh" / "server.pem"
    before = config.read_bytes(), pem.read_bytes()
    full = {
        "application": "notebook",
        "password_hash": HASH + "x",
        "certificate": pem.read_text(),
        "directory": "~",
        "credentials_digest": look(tmp_path)["credentials_digest"],
        **VALIDITY,
    }

    def nothing_can_be_written() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    answer = run_here(tmp_path, "configure_security", full, before=nothing_can_be_written)
    assert (answer["problem"], answer["reason"], answer["code"]) == (
        "system-error",
        "File too large",
        "EFBIG",
    )
    assert (config.read_bytes(), pem.read_bytes()) == before
    assert [path.name for path in config.parent.rglob(".*")] == []


@pytest.mark.parametrize("certificate", ["make", ""])
def test_changed_meanwhile(tmp_path: Path, config: Path, certificate: str) -> None:
    """When the password or the certificate is no longer the one that was seen, no file changes, and that is the answer."""
    seen = look(tmp_path)["credentials_digest"]
    protect(tmp_path)
    before = {path: path.read_bytes() for path in config.parent.rglob("*") if path.is_file()}
    answer = protect(tmp_path, password_hash=HASH + "x", certificate=certificate, credentials_digest=seen)
    assert answer["problem"] == "credentials-changed"
    assert {path: path.read_bytes() for path in config.parent.rglob("*") if path.is_file()} == before


def test_a_key_that_others_can_read(tmp_path: Path, config: Path) -> None:
    """A key that was left open to others is not good enough."""
    protect(tmp_path)
    (config.parent / "notebooks-over-ssh" / "server.pem").chmod(0o644)
    assert look(tmp_path)["certificate_trouble"] == "others can read the key"


def test_a_certificate_of_another_key(tmp_path: Path, config: Path) -> None:
    """A certificate and a key that do not belong together are no protection."""
    protect(tmp_path)
    pem = config.parent / "notebooks-over-ssh" / "server.pem"
    first = pem.read_text()
    protect(tmp_path)
    certificate = pem.read_text()[pem.read_text().index("-----BEGIN CERTIFICATE") :]
    pem.write_text(first[: first.index("-----BEGIN CERTIFICATE")] + certificate)
    assert "unusable" in look(tmp_path)["certificate_trouble"]
