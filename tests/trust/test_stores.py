"""`trust` and `untrust`: just one certificate goes into every store, once, and nothing of it stays."""

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
from tests.journey.program import refused, succeeded
from tests.trust.certificates import authority, certificate, names, new_key, self_signed, sha256, version_1
from tests.trust.conftest import Somebody, certutil, entries

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


def test_every_store_and_twice(somebody: Somebody) -> None:
    """Every database gets the one certificate as its browser wants it; the second time nothing changes; then it is gone."""
    databases = {somebody.has_database(place): trust for place, trust in PLACES.items()}
    for database in databases:
        certutil("-A", "-a", "-d", f"sql:{database}", "-n", "of my own", "-t", "C,,", stdin=self_signed())
    before = {database: entries(database) for database in databases}
    pem = self_signed()
    somebody.has_session(pem)

    said = succeeded(somebody.fab("trust")).stdout
    nickname = f"notebooks-over-ssh ashbury {sha256(pem)}"
    for database, trust in databases.items():
        assert entries(database) == before[database] | {nickname: trust}
        assert certificates.parse(certutil("-L", "-a", "-d", f"sql:{database}", "-n", nickname)).pem == pem
        assert f"(~/{database.relative_to(somebody.home)}) trusts" in said
    contents = _contents(somebody)
    again = succeeded(somebody.invoke("trust")).stdout
    assert again.count("already trusts") == len(PLACES)
    assert _contents(somebody) == contents

    said = succeeded(somebody.fab("untrust")).stdout
    assert said.count("trusts it no longer") == len(PLACES)
    assert {database: entries(database) for database in databases} == before
    assert "nothing to remove" in succeeded(somebody.invoke("untrust")).stdout
    assert record.known() == {}


def test_chromium_that_has_not_run(somebody: Somebody, tmp_path: Path) -> None:
    """For a Chromium that has made no database yet, one is made, private; for nobody's Chromium none is."""
    somebody.has_session(self_signed())
    bare = _programs(tmp_path / "bare", "certutil")
    refused(somebody.fab("trust", PATH=bare), 1, "no browser")
    assert not (somebody.home / ".pki").exists()
    with_chromium = _programs(tmp_path / "with-chromium", "certutil", "chromium")
    succeeded(somebody.fab("trust", PATH=with_chromium))
    database = somebody.home / CHROMIUM
    assert database.stat().st_mode & 0o077 == 0
    assert list(entries(database).values()) == ["P,,"]


def test_certutil_is_missing(somebody: Somebody, tmp_path: Path) -> None:
    """Without certutil nothing changes, every store that was meant is named, and so is the one package to install."""
    databases = [somebody.has_database(place) for place in (CHROMIUM, FIREFOX)]
    somebody.has_session(self_signed())
    done = refused(
        somebody.fab("trust", PATH=_programs(tmp_path / "bare")),
        1,
        "libnss3-tools",
        *map(str, (CHROMIUM, FIREFOX)),
    )
    assert done.stderr.count("hint: ") == 1
    assert [entries(database) for database in databases] == [{}, {}]
    assert record.known() == {}


def test_primary_password(somebody: Somebody) -> None:
    """A Firefox profile that a password protects is left as it was, and the reason told; the other store is done."""
    protected = somebody.has_database(FIREFOX, password="a primary password")
    other = somebody.has_database(CHROMIUM)
    somebody.has_session(self_signed())
    done = succeeded(somebody.fab("trust"))
    assert f"{FIREFOX}): not done: a primary password" in done.stderr
    assert entries(protected) == {}
    assert list(entries(other).values()) == ["P,,"]
    succeeded(somebody.fab("untrust"))
    assert entries(other) == {}


def test_database_in_use(somebody: Somebody) -> None:
    """A database that another program holds is named with the reason; the other is done, and a second run does the rest."""
    busy, other = (somebody.has_database(place) for place in (CHROMIUM, FIREFOX))
    somebody.has_session(self_signed())
    holder = sqlite3.connect(busy / "cert9.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        done = succeeded(somebody.fab("trust"))
    finally:
        holder.close()
    assert f"{CHROMIUM}): not done" in done.stderr
    assert list(entries(other).values()) == ["C,,"] and entries(busy) == {}
    succeeded(somebody.fab("trust"))
    assert list(entries(busy).values()) == ["P,,"]


def test_still_trusted(somebody: Somebody, tmp_path: Path) -> None:
    """Where it cannot be taken out, `untrust` fails and says where it still is; the next one takes it out."""
    database = somebody.has_database(CHROMIUM)
    somebody.has_session(self_signed())
    succeeded(somebody.fab("trust"))
    refused(somebody.fab("untrust", PATH=_programs(tmp_path / "bare")), 1, CHROMIUM, "still trusts")
    succeeded(somebody.fab("untrust"))
    assert entries(database) == {}


def test_authority(somebody: Somebody, tmp_path: Path) -> None:
    """A certificate that could sign others is put into no store."""
    databases = [somebody.has_database(place) for place in (CHROMIUM, FIREFOX)]
    for pem in (authority(new_key()), version_1(tmp_path)):
        somebody.has_session(pem)
        refused(somebody.fab("trust"), 1, "could sign others", "secure --renew")
    assert [entries(database) for database in databases] == [{}, {}]
    assert record.known() == {}


def test_other_web_sites(somebody: Somebody) -> None:
    """A certificate that is for a web site too is put into no store, and the message names the site."""
    databases = [somebody.has_database(place) for place in (CHROMIUM, FIREFOX)]
    somebody.has_session(
        certificate(new_key(), names=names("localhost", "www.bank.example", "*.example.org"))
    )
    refused(somebody.fab("trust"), 1, "it is for www.bank.example, *.example.org", "secure --renew")
    assert [entries(database) for database in databases] == [{}, {}]
    assert record.known() == {}


def test_from_an_authority(somebody: Somebody) -> None:
    """A certificate that an authority signed needs no trust: `trust` says whose it is, and changes nothing."""
    database = somebody.has_database(FIREFOX)
    somebody.has_session(certificate(new_key(), issuer="the site's authority", signer=new_key()))
    said = succeeded(somebody.fab("trust")).stdout
    assert "nothing to do" in said and "the site's authority" in said
    assert entries(database) == {}


def test_another_certificate(somebody: Somebody) -> None:
    """When the session has another certificate by now, `trust` puts it in the place of the old one."""
    database = somebody.has_database(CHROMIUM)
    somebody.has_session(self_signed())
    succeeded(somebody.fab("trust"))
    pem = self_signed()
    somebody.has_session(pem)
    succeeded(somebody.fab("trust"))
    assert entries(database) == {f"notebooks-over-ssh ashbury {sha256(pem)}": "P,,"}


def test_hosts_with_one_home(somebody: Somebody) -> None:
    """A certificate that two sessions share stays trusted until both are over."""
    database = somebody.has_database(CHROMIUM)
    pem = self_signed()
    first, second = (somebody.has_session(pem, host) for host in ("ashbury", "bonnington"))
    for host in ("ashbury", "bonnington"):
        succeeded(somebody.fab("-H", host, "trust"))
    assert len(entries(database)) == 1
    sessions.forget(first)
    assert trusting.drop_stale() == []
    assert len(entries(database)) == 1
    sessions.forget(second)
    assert trusting.drop_stale() == [f"Chromium (~/{CHROMIUM})"]
    assert entries(database) == {}


def test_lost_records(somebody: Somebody) -> None:
    """Also when all records are gone, `untrust` finds what is ours in the databases by its name."""
    databases = [somebody.has_database(place) for place in (CHROMIUM, FIREFOX)]
    somebody.has_session(self_signed())
    succeeded(somebody.fab("trust"))
    shutil.rmtree(somebody.sessions.parent)
    succeeded(somebody.fab("untrust"))
    assert [entries(database) for database in databases] == [{}, {}]


@pytest.mark.parametrize(
    "host", ["-D", "--help", "a b", "token:name", "x\n-d y", "$(touch pwned)", "ä" * 300]
)
def test_hostile_names(somebody: Somebody, host: str) -> None:
    """Whatever a host or the folder of a profile is called, it is no option and no command, and is found again."""
    databases = [
        somebody.has_database(f".mozilla/firefox/{name}") for name in ("-d x", "$(touch pwned)", "ä;b")
    ]
    pem = self_signed()
    trusting.trust(certificates.parse(pem), host)
    for database in databases:
        ((nickname, trust),) = entries(database).items()
        assert (
            nickname.startswith("notebooks-over-ssh ") and nickname.endswith(sha256(pem)) and trust == "C,,"
        )
    assert {store for store in trusting.drop({sha256(pem)}) if "Firefox" in store} == {
        f"Firefox (~/{database.relative_to(somebody.home)})" for database in databases
    }
    assert [entries(database) for database in databases] == [{}] * len(databases)
    assert not list(somebody.home.rglob("pwned")) and not Path("pwned").exists()


def _contents(somebody: Somebody) -> dict[str, tuple[bytes, int]]:
    files = (somebody.home / name for name in somebody.files())
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def _programs(folder: Path, *names: str) -> str:
    """A PATH on which there are just these programs."""
    folder.mkdir()
    for name in names:
        if not (found := shutil.which(name)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        (folder / name).symlink_to(found)
    return str(folder)
