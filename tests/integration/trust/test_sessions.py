"""Trust during a session: added by `up`, updated for a new certificate, and removed at the end, in the sandbox."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from notebooks_over_ssh.jupyter.session import Session
from tests.kit.certificates import sha256
from tests.kit.cli import Result, User, assert_success, kill
from tests.kit.ports import free_port
from tests.kit.trust_user import entries, new_database
from tests.kit.users import PASSWORD


@pytest.fixture(scope="module")
def database(_secured_user: User) -> Iterator[Path]:
    """The user's Chromium database, which is deleted afterwards."""
    folder = new_database(_secured_user.home / ".pki/nssdb")
    yield folder
    shutil.rmtree(folder.parent)


@pytest.fixture
def user(_secured_user: User) -> Iterator[User]:
    """A user without a session, before and after."""
    yield _secured_user
    _secured_user.stop_all_sessions()


def trusted(database: Path) -> set[str]:
    """The SHA-256 of each of our certificates that the browser trusts."""
    return {nickname.rpartition(" ")[2] for nickname, trust in entries(database).items() if trust == "P,,"}


def test_up_and_stop(user: User, database: Path) -> None:
    """`up --trust` adds the session's certificate before the browser opens; `stop` removes it."""
    up = assert_success(user.fab("up", "--detach", "--trust"))
    assert up.stdout.index("trusts the certificate") < up.stdout.index("ready")
    assert trusted(database) == {sha256(user.only_record()["certificate_pem"])}
    assert "removed its certificate from" in assert_success(user.fab("stop")).stdout
    assert entries(database) == {}
    assert list(user.sessions.parent.rglob("*.pem")) == []


def test_setting(user: User, database: Path) -> None:
    """By default no store is changed; with `notebook.trust` both `up` and `tunnel` add the certificate, once."""
    assert_success(user.fab("up", "--detach"))
    assert entries(database) == {}
    for task in ("tunnel", "up"):
        result = assert_success(user.invoke(task, "--detach", INVOKE_NOTEBOOK_TRUST="true"))
        assert ("already trusts" in result.stdout) == (task == "up")
        assert len(trusted(database)) == 1
    assert_success(user.fab("stop", "--all"))
    assert entries(database) == {}


def renew(user: User) -> Result:
    """Renew the certificate, with the password that the other tests log in with."""
    return user.fab("secure", "--renew", "--password-file", "-", stdin=f"{PASSWORD}\n")


def test_renewed_certificate(user: User, database: Path) -> None:
    """A replaced certificate stays trusted as long as a server uses it, and no longer."""
    assert_success(user.fab("up", "--detach", "--trust"))
    old = trusted(database)
    assert_success(renew(user))
    assert trusted(database) == old
    assert_success(user.fab("stop"))
    assert entries(database) == {}
    assert_success(user.fab("up", "--detach", "--trust"))
    assert trusted(database) == {sha256(user.only_record()["certificate_pem"])} != old
    kill(user.only_record()["pid"])
    assert "removed the old certificate from" in assert_success(renew(user)).stdout
    assert entries(database) == {}
    assert_success(user.fab("up", "--detach", "--trust"))
    assert "password and certificate unchanged" in assert_success(user.fab("secure")).stdout
    assert len(trusted(database)) == 1
    assert_success(user.fab("stop"))


def test_unreachable_host(user: User, database: Path) -> None:
    """`stop --force` removes the certificate although the session's host is unreachable."""
    assert_success(user.fab("-H", "ashbury", "up", "--detach", "--trust"))
    (record,) = user.sessions.glob("ashbury-*.session.json")
    unreachable = msgspec.convert(
        user.record("ashbury") | {"gateway": f"127.0.0.1:{free_port()}", "host": "gone"}, Session
    )
    (user.sessions / f"{unreachable.name}.session.json").write_bytes(msgspec.json.encode(unreachable))
    assert_success(user.fab("-H", "ashbury", "stop"))
    assert len(trusted(database)) == 1  # the other session still uses it
    assert not record.exists()
    result = assert_success(user.fab("stop", "--all", "--force"))
    assert "may still be running" in result.stdout and "removed its certificate from" in result.stdout
    assert entries(database) == {}


def test_up_without_trust(user: User, database: Path, tmp_path: Path) -> None:
    """When no store can be changed, `up --trust` says so and continues, with the browser's warning."""
    (tmp_path / "bin").mkdir()
    for name in ("ssh", "sh", "openssl", "uname", "hostname"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    result = assert_success(user.fab("up", "--detach", "--trust", PATH=str(tmp_path / "bin")))
    assert "ready" in result.stdout
    assert (
        "your browser will show a certificate warning" in result.stderr and "libnss3-tools" in result.stderr
    )
    assert entries(database) == {}
    assert_success(user.fab("stop"))


def test_sandbox_stop(fresh_user: User) -> None:
    """`sandbox.stop` removes the certificates of its hosts from all stores."""
    database = new_database(fresh_user.home / ".pki/nssdb")
    assert_success(fresh_user.fab("up", "--detach", "--trust"))
    assert len(trusted(database)) == 1
    assert "removed its certificate from" in assert_success(fresh_user.fab("sandbox.stop")).stdout
    assert entries(database) == {}
