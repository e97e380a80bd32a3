"""The password and the certificate: set once, renewed on request or when due, or the user's own."""

import json
import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.kit.certificate_chains import CertificateSite, make_signed
from tests.kit.cli import User, assert_error, assert_success, port_in
from tests.kit.jupyter_client import Browser
from tests.kit.users import PASSWORD, generated_password

ANOTHER_PASSWORD = "quite another password"


@pytest.fixture(autouse=True)
def _protected(user: User) -> Iterator[None]:
    """Each test begins and ends with PASSWORD and a fresh certificate, without a server."""
    contents = {path: path.read_bytes() for path in _protected_files(user)}
    yield
    user.stop_all_sessions()
    for path in _protected_files(user):
        path.unlink()
    for path, content in contents.items():
        path.touch(0o600)
        path.write_bytes(content)


def test_twice_changes_nothing(user: User) -> None:
    """A second `secure` reports that everything is in place, and changes no file."""
    before = _state(user)
    for program in ("fab", "invoke"):
        assert "password and certificate unchanged" in assert_success(user.run(program, "secure")).stdout
    assert (
        "password is already set"
        in assert_success(user.fab("secure", "--password-file", "-", stdin=ANOTHER_PASSWORD)).stderr
    )
    assert _state(user) == before


def test_same_password(user: User) -> None:
    """Setting the current password again changes nothing, prints no warning and leaves the running server alone."""
    assert_success(user.fab("up", "--detach"))
    before, session = user.jupyter_config.read_bytes(), user.only_session()
    for words in (("secure",), ("up", "--detach")):
        result = assert_success(user.fab(*words, "--password-file", "-", stdin=PASSWORD))
        assert "password and certificate unchanged" in result.stdout and result.stderr == ""
    assert user.only_session()["pid"] == session["pid"]
    result = assert_success(user.fab("secure", "--renew", "--password-file", "-", stdin=PASSWORD))
    assert "password unchanged, certificate created" in result.stdout
    assert user.jupyter_config.read_bytes() == before


def test_private_files(user: User) -> None:
    """The key, the configuration with the hash, and the key's folder are accessible to their owner only."""
    assert_success(user.fab("secure", "--renew"))
    folder = user.jupyter_config.parent / "notebooks-over-ssh"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    keys = [path for path in _protected_files(user) if b"PRIVATE KEY" in path.read_bytes()]
    assert keys
    assert {stat.S_IMODE(path.stat().st_mode) for path in (*keys, user.jupyter_config)} == {0o600}


def test_certificate_chain(user: User, tmp_path: Path) -> None:
    """A client that trusts the site's CA connects to localhost without an error."""
    root = make_signed("the root", ca=True)
    certificate_site = CertificateSite(root, make_signed("the one below", root, ca=True), tmp_path)
    leaf = certificate_site.leaf(names=["*.example.org", "localhost"])
    chain, key = certificate_site.files([leaf, certificate_site.intermediate], leaf.key)
    result = assert_success(user.fab("secure", "--certificate", str(chain), "--key", str(key)))
    assert "certificate installed" in result.stdout and result.stderr == ""
    port = port_in(assert_success(user.fab("up", "--detach")))
    trust = ssl.create_default_context(cadata=root.pem)
    assert httpx.get(f"https://localhost:{port}/login", verify=trust, trust_env=False).status_code == 200
    assert "password and certificate unchanged" in assert_success(user.fab("secure")).stdout
    assert_success(user.fab("tunnel", "--detach"))


def test_own_certificate_then_renewed(user: User, tmp_path: Path) -> None:
    """The user's own certificate is served; after `--renew` and a restart a new one is, and the old password fails."""
    certificate, key = _make_pair(tmp_path, days=90)
    assert_success(user.fab("secure", "--certificate", str(certificate), "--key", str(key)))
    up = assert_success(user.fab("up", "--detach"))
    old = user.only_session()
    own = x509.load_pem_x509_certificate(certificate.read_bytes())
    assert old["certificate_sha256"] == own.fingerprint(hashes.SHA256()).hex()
    assert datetime.fromisoformat(old["certificate_expires"]) == own.not_valid_after_utc
    with Browser(port_in(up), certificate.read_text()) as browser:
        assert browser.log_in(PASSWORD)

    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text(f"{ANOTHER_PASSWORD}\n")
    result = assert_success(user.fab("secure", "--renew", "--password-file", str(file)))
    assert ANOTHER_PASSWORD not in result.stdout + result.stderr
    assert_success(user.fab("stop"))

    up = assert_success(user.fab("up", "--detach"))
    new = user.only_session()
    assert new["certificate_sha256"] != old["certificate_sha256"]
    with Browser(port_in(up), user.certificate_pem(new["host"])) as browser:
        assert not browser.log_in(PASSWORD)
        assert browser.log_in(ANOTHER_PASSWORD)


def test_generated_password(user: User) -> None:
    """`--renew` without a terminal generates a new password each time, and shows it once."""
    first, second = (assert_success(user.fab("secure", "--renew")) for _ in range(2))
    assert generated_password(first) != generated_password(second)


def test_other_settings_survive(user: User) -> None:
    """`secure --renew` keeps the user's other settings in Jupyter's configuration."""
    config = json.loads(user.jupyter_config.read_text())
    mine: dict[str, Any] = {
        "ServerApp": {"shutdown_no_activity_timeout": 86400},
        "Größe": {"ä": ["ö", None, 1.5]},
    }
    both = {**config, **mine, "ServerApp": {**config["ServerApp"], **mine["ServerApp"]}}
    user.jupyter_config.write_text(json.dumps(both))
    assert_success(user.fab("secure", "--renew"))
    after = json.loads(user.jupyter_config.read_text())
    assert after["IdentityProvider"]["hashed_password"] != both["IdentityProvider"]["hashed_password"]
    after["IdentityProvider"] = both["IdentityProvider"]
    assert after == both


@pytest.mark.parametrize("fault", ["mismatched", "expired", "not yet", "no key", "not PEM"])
def test_invalid_own_certificate(user: User, tmp_path: Path, fault: str) -> None:
    """A pair that cannot be served is refused with 2, and nothing is changed."""
    certificate, key = _make_pair(
        tmp_path, days=-1 if fault == "expired" else 90, begins=5 if fault == "not yet" else -10
    )
    if fault == "mismatched":
        _, key = _make_pair(tmp_path / "another", days=90)
    elif fault == "no key":
        key.unlink()
    elif fault == "not PEM":
        certificate.write_text("hello")
    before = _state(user)
    result = user.fab("secure", "--certificate", str(certificate), "--key", str(key))
    assert_error(result, 2, str(key) if fault in ("mismatched", "no key") else str(certificate))
    assert _state(user) == before


def test_certificate_is_renewed_when_due(user: User, tmp_path: Path) -> None:
    """The next `secure` renews a certificate that expires soon, and reports it; the password stays."""
    certificate, key = _make_pair(tmp_path, days=10)
    assert_success(user.fab("secure", "--certificate", str(certificate), "--key", str(key)))
    password_hash = json.loads(user.jupyter_config.read_text())["IdentityProvider"]
    result = assert_success(user.fab("secure"))
    assert "certificate created" in result.stdout and "expires within 30 days" in result.stdout
    assert "password unchanged" in result.stdout
    assert json.loads(user.jupyter_config.read_text())["IdentityProvider"] == password_hash
    renewed = x509.load_pem_x509_certificate(
        (user.jupyter_config.parent / "notebooks-over-ssh/server.pem").read_bytes()
    )
    assert renewed.not_valid_after_utc > datetime.now(UTC) + timedelta(days=300)
    assert "password and certificate unchanged" in assert_success(user.fab("secure")).stdout


def _protected_files(user: User) -> list[Path]:
    """The files that protect the server: Jupyter's configuration, and those in our folder beside it."""
    folder = user.jupyter_config.parent / "notebooks-over-ssh"
    return [user.jupyter_config, *(path for path in folder.iterdir() if path.is_file())]


def _state(user: User) -> dict[str, tuple[bytes, int, int]]:
    files = [path for path in user.jupyter_config.parent.rglob("*") if path.is_file()]
    # Without the lock, which is opened for writing.
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode)
        for path in files
        if path.name != "lock"
    }


def _make_pair(folder: Path, *, days: int, begins: int = -10) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, valid for that many days from now, and its key."""
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a server of mine")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "own.pem", folder / "own.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].touch(0o600)
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths
