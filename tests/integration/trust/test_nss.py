"""`trust` adds exactly one certificate to every store, once, and `untrust` removes it."""

import errno
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from notebooks_over_ssh.jupyter import certificate as certificates
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.trust_stores import installed as record
from notebooks_over_ssh.trust_stores import manager as trusting
from tests.kit.certificates import authority, certificate, names, new_key, self_signed, sha256
from tests.kit.cli import assert_error, assert_success, run
from tests.kit.trust_user import TrustUser, certutil, entries

CHROMIUM = ".pki/nssdb"
FIREFOX = ".mozilla/firefox/abcd.default"
PLACES = {
    CHROMIUM: "P,,",
    ".local/share/pki/nssdb": "P,,",
    "snap/chromium/current/.pki/nssdb": "P,,",
    ".var/app/org.chromium.Chromium/.pki/nssdb": "P,,",
    ".var/app/org.chromium.Chromium/data/pki/nssdb": "P,,",
    FIREFOX: "C,,",
    ".mozilla/firefox/efgh.second": "C,,",
    ".config/mozilla/firefox/ijkl.new": "C,,",
    "snap/firefox/common/.mozilla/firefox/mnop.snap": "C,,",
    ".var/app/org.mozilla.firefox/.mozilla/firefox/qrst.flat": "C,,",
    ".var/app/org.mozilla.firefox/config/mozilla/firefox/uvwx.flat": "C,,",
}


def test_every_store(trust_user: TrustUser) -> None:
    """Every database gets the certificate with the trust its browser needs; a second run changes nothing; then it is
    removed.
    """
    databases = {trust_user.add_database(folder): trust for folder, trust in PLACES.items()}
    for database in databases:
        certutil("-A", "-a", "-d", f"sql:{database}", "-n", "of my own", "-t", "C,,", stdin=self_signed())
    before = {database: entries(database) for database in databases}
    pem = self_signed()
    trust_user.add_session(pem)

    output = assert_success(trust_user.fab("trust")).stdout
    nickname = f"notebooks-over-ssh ashbury {sha256(pem)}"
    for database, trust in databases.items():
        assert entries(database) == before[database] | {nickname: trust}
        assert certificates.parse(certutil("-L", "-a", "-d", f"sql:{database}", "-n", nickname)).pem == pem
        assert f"(~/{database.relative_to(trust_user.home)}) now trusts" in output
    contents = _contents(trust_user)
    second_output = assert_success(trust_user.invoke("trust")).stdout
    assert second_output.count("already trusts") == len(PLACES)
    assert _contents(trust_user) == contents

    output = assert_success(trust_user.fab("untrust")).stdout
    assert output.count("removed the certificate from") == len(PLACES)
    assert {database: entries(database) for database in databases} == before
    assert "nothing to remove" in assert_success(trust_user.invoke("untrust")).stdout
    assert record.load_all() == {}


def test_new_chromium(trust_user: TrustUser, tmp_path: Path) -> None:
    """For a Chromium without a database yet, a private one is created; without a Chromium, none is."""
    trust_user.add_session(self_signed())
    bare = _programs(tmp_path / "bare", "certutil")
    assert_error(trust_user.fab("trust", PATH=bare), 1, "no browser")
    assert not (trust_user.home / ".pki").exists()
    with_chromium = _programs(tmp_path / "with-chromium", "certutil", "chromium")
    assert_success(trust_user.fab("trust", PATH=with_chromium))
    database = trust_user.home / CHROMIUM
    assert database.stat().st_mode & 0o077 == 0
    assert list(entries(database).values()) == ["P,,"]


def test_certutil_is_missing(trust_user: TrustUser, tmp_path: Path) -> None:
    """Without certutil nothing changes, and every store and the one package to install are named."""
    databases = [trust_user.add_database(folder) for folder in (CHROMIUM, FIREFOX)]
    trust_user.add_session(self_signed())
    result = assert_error(
        trust_user.fab("trust", PATH=_programs(tmp_path / "bare")),
        1,
        "libnss3-tools",
        *map(str, (CHROMIUM, FIREFOX)),
    )
    assert result.stderr.count("hint: ") == 1
    assert [entries(database) for database in databases] == [{}, {}]
    assert record.load_all() == {}


def test_primary_password(trust_user: TrustUser) -> None:
    """A Firefox profile with a primary password is not changed, and the reason reported; the other store is."""
    protected = trust_user.add_database(FIREFOX, password="a primary password")
    other = trust_user.add_database(CHROMIUM)
    trust_user.add_session(self_signed())
    result = assert_success(trust_user.fab("trust"))
    assert f"{FIREFOX}): it is protected by a primary password" in result.stderr
    assert entries(protected) == {}
    assert list(entries(other).values()) == ["P,,"]
    assert_success(trust_user.fab("untrust"))
    assert entries(other) == {}


def test_database_in_use(trust_user: TrustUser) -> None:
    """A database that another program has locked is reported; the other is changed, and a second run completes it."""
    busy, other = (trust_user.add_database(folder) for folder in (CHROMIUM, FIREFOX))
    trust_user.add_session(self_signed())
    holder = sqlite3.connect(busy / "cert9.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        result = assert_success(trust_user.fab("trust"))
    finally:
        holder.close()
    assert f"{CHROMIUM}): " in result.stderr
    assert list(entries(other).values()) == ["C,,"] and entries(busy) == {}
    assert_success(trust_user.fab("trust"))
    assert list(entries(busy).values()) == ["P,,"]


def test_still_trusted(trust_user: TrustUser, tmp_path: Path) -> None:
    """When a certificate cannot be removed, `untrust` fails and names the store; the next run removes it."""
    database = trust_user.add_database(CHROMIUM)
    trust_user.add_session(self_signed())
    assert_success(trust_user.fab("trust"))
    assert_error(trust_user.fab("untrust", PATH=_programs(tmp_path / "bare")), 1, CHROMIUM, "still trusts")
    assert_success(trust_user.fab("untrust"))
    assert entries(database) == {}


def test_ca_certificate(trust_user: TrustUser, tmp_path: Path) -> None:
    """A certificate that can sign others is added to no store."""
    databases = [trust_user.add_database(folder) for folder in (CHROMIUM, FIREFOX)]
    for pem in (authority(new_key()), version_1(tmp_path)):
        trust_user.add_session(pem)
        assert_error(trust_user.fab("trust"), 1, "could sign other certificates", "secure --renew")
    assert [entries(database) for database in databases] == [{}, {}]
    assert record.load_all() == {}


def test_other_web_sites(trust_user: TrustUser) -> None:
    """A certificate that is also for another web site is added to no store, and the message names the site."""
    databases = [trust_user.add_database(folder) for folder in (CHROMIUM, FIREFOX)]
    trust_user.add_session(
        certificate(new_key(), names=names("localhost", "www.bank.example", "*.example.org"))
    )
    assert_error(trust_user.fab("trust"), 1, "it is for www.bank.example, *.example.org", "secure --renew")
    assert [entries(database) for database in databases] == [{}, {}]
    assert record.load_all() == {}


def test_certificate_of_a_ca(trust_user: TrustUser) -> None:
    """A certificate that a CA signed needs no trust: `trust` names the CA, and changes nothing."""
    database = trust_user.add_database(FIREFOX)
    trust_user.add_session(certificate(new_key(), issuer="the site's authority", signer=new_key()))
    output = assert_success(trust_user.fab("trust")).stdout
    assert "nothing to do" in output and "the site's authority" in output
    assert entries(database) == {}


def test_replaced_certificate(trust_user: TrustUser) -> None:
    """When the session's certificate has changed, `trust` replaces the old one."""
    database = trust_user.add_database(CHROMIUM)
    trust_user.add_session(self_signed())
    assert_success(trust_user.fab("trust"))
    pem = self_signed()
    trust_user.add_session(pem)
    assert_success(trust_user.fab("trust"))
    assert entries(database) == {f"notebooks-over-ssh ashbury {sha256(pem)}": "P,,"}


def test_hosts_with_one_home(trust_user: TrustUser) -> None:
    """A certificate that two sessions share stays trusted until both have ended."""
    database = trust_user.add_database(CHROMIUM)
    pem = self_signed()
    first, second = (trust_user.add_session(pem, host) for host in ("ashbury", "bonnington"))
    for host in ("ashbury", "bonnington"):
        assert_success(trust_user.fab("-H", host, "trust"))
    assert len(entries(database)) == 1
    sessions.delete(first)
    assert trusting.remove_unused() == []
    assert len(entries(database)) == 1
    sessions.delete(second)
    assert trusting.remove_unused() == [f"Chromium (~/{CHROMIUM})"]
    assert entries(database) == {}


def test_lost_records(trust_user: TrustUser) -> None:
    """Without any records, `untrust` finds our certificates in the databases by their names."""
    databases = [trust_user.add_database(folder) for folder in (CHROMIUM, FIREFOX)]
    trust_user.add_session(self_signed())
    assert_success(trust_user.fab("trust"))
    shutil.rmtree(trust_user.sessions.parent)
    assert_success(trust_user.fab("untrust"))
    assert [entries(database) for database in databases] == [{}, {}]


@pytest.mark.parametrize(
    "host", ["-D", "--help", "a b", "token:name", "x\n-d y", "$(touch pwned)", "ä" * 300]
)
def test_hostile_names(trust_user: TrustUser, host: str) -> None:
    """Any name of a host or a profile's folder is passed on as a name, not as an option or command."""
    databases = [
        trust_user.add_database(f".mozilla/firefox/{name}") for name in ("-d x", "$(touch pwned)", "ä;b")
    ]
    pem = self_signed()
    trusting.trust(certificates.parse(pem), host)
    for database in databases:
        ((nickname, trust),) = entries(database).items()
        assert (
            nickname.startswith("notebooks-over-ssh ") and nickname.endswith(sha256(pem)) and trust == "C,,"
        )
    assert {store for store in trusting.remove({sha256(pem)}) if "Firefox" in store} == {
        f"Firefox (~/{database.relative_to(trust_user.home)})" for database in databases
    }
    assert [entries(database) for database in databases] == [{}] * len(databases)
    assert not list(trust_user.home.rglob("pwned")) and not Path("pwned").exists()


def _contents(trust_user: TrustUser) -> dict[str, tuple[bytes, int]]:
    files = (trust_user.home / name for name in trust_user.files())
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def version_1(folder: Path) -> str:
    """A version 1 certificate, which has no extensions."""
    key, request, file = folder / "v1.key", folder / "v1.request", folder / "v1.pem"
    new = ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    run("openssl", *new, "-keyout", key, "-out", request)
    run("openssl", "x509", "-req", "-in", request, "-signkey", key, "-out", file)
    return file.read_text()


def _programs(folder: Path, *names: str) -> str:
    """A PATH with these programs only."""
    folder.mkdir()
    for name in names:
        if not (path := shutil.which(name)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        (folder / name).symlink_to(path)
    return str(folder)
