"""What is remembered of sessions survives whatever else is in the folder."""

from pathlib import Path

import pytest
from invoke.context import Context

from notebooks_over_ssh.config import settings
from notebooks_over_ssh.errors import BadSetting
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import AnySession, PendingSession, RemoteHost, Session, Tunnel


def a_session(host: str = "ashbury", **fields: object) -> Session:
    given: dict[str, object] = {
        "gateway": "sandbox", "user": "me", "host": host, "requested": "student.compute", "ssh_port": None,
        "host_key": "AAAA", "pid": 100, "process_start": "boot/1", "remote_port": 8888, "application": "notebook",
        "version": "7", "directory": "/home/me", "started": "2026-01-01T00:00:00Z", "certificate_pem": "",
    }  # fmt: skip
    return Session(**(given | fields))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without records; returns where they are going to be."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "notebooks-over-ssh" / "sessions"


def find(host: str | None = None) -> AnySession | None:
    return sessions.find(settings.load(Context(), host=host))


def test_remember_and_forget(state: Path) -> None:
    """A session is found until it is forgotten, and nothing is left of it then; twice is fine."""
    session = a_session()
    sessions.remember(session)
    sessions.remember(session)
    assert sessions.every_session() == [session]
    assert all(path.stat().st_mode & 0o077 == 0 for path in [state, *state.iterdir()])
    sessions.forget(session)
    sessions.forget(session)
    assert list(state.iterdir()) == []


def test_which_session_is_meant() -> None:
    """The only one without a word; of several the one named, by its own name or by that of its pool; else they are listed."""
    assert find() is None
    first = a_session("ashbury")
    sessions.remember(first)
    assert find() == find("ashbury") == find("student.compute") == find("me@ashbury") == first
    assert find("bonnington") is find("other@ashbury") is find("ashbury:2222") is None
    second = a_session("bonnington", requested="bonnington")
    sessions.remember(second)
    assert find("bonnington") == second
    assert find("ashbury") == find("ASHBURY") == find("student.compute") == first
    with pytest.raises(BadSetting, match="2 sessions fit") as caught:
        find()
    assert caught.value.detail == ("me@ashbury through sandbox", "me@bonnington through sandbox")
    sessions.remember(a_session("calder", gateway="elsewhere"))
    assert find("calder") is None
    sessions.remember(a_session("ashbury", user="other"))
    assert find("me@ashbury") == first
    with pytest.raises(BadSetting, match="2 sessions fit"):
        find("ashbury")


@pytest.mark.parametrize(
    ("variables", "file", "fits"),
    [
        ({"INVOKE_USER": "me"}, "", True),
        ({"INVOKE_USER": "other"}, "", False),
        ({"INVOKE_PORT": "22"}, "", True),
        ({"INVOKE_PORT": "2222"}, "", False),
        ({"INVOKE_NOTEBOOK_HOST": "student.compute"}, "", True),
        ({"INVOKE_NOTEBOOK_HOST": "bonnington"}, "", False),
        ({"INVOKE_GATEWAY": "elsewhere"}, "", False),
        ({}, "user: me", True),
        ({}, "user: other", False),
        ({}, "notebook: {host: ashbury}", True),
        ({}, "notebook: {host: other@ashbury}", False),
        ({}, "notebook: {host: bonnington}", False),
        ({"INVOKE_NOTEBOOK_HOST": "ashbury"}, "notebook: {host: bonnington}", True),
    ],
)
def test_whoever_names_a_host_or_user_means_that_one(
    variables: dict[str, str], file: str, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only session is not taken where a variable or the user's own file names another host, user, port or gateway."""
    session = a_session("ashbury")
    sessions.remember(session)
    (tmp_path / ".invoke.yaml").write_text(file)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find() == (session if fits else None)


def test_a_session_that_was_picked_is_the_only_one() -> None:
    """Settings that name one session fit no other, whatever else is on record."""
    known = [
        a_session(host, user=user, gateway=gateway, ssh_port=port, host_key=f"key through {gateway}, {port}")
        for host in ("ashbury", "fe80::1")
        for user in ("me", "other")
        for gateway in (None, "sandbox")
        for port in (None, 2222)
    ]
    for session in known:
        sessions.remember(session)
    for session in known:
        assert sessions.find(sessions.named(settings.load(Context()), session)) == session


def test_pending_session(state: Path) -> None:
    """A pending session is found like any other, until its server is on record or it is forgotten."""
    session = a_session()
    pending = PendingSession(**{name: getattr(session, name) for name in RemoteHost.__struct_fields__})
    sessions.remember_pending(pending)
    assert find() == find("ashbury") == pending
    assert (sessions.every_record(), sessions.every_session()) == ([pending], [])
    sessions.remember(session)
    assert (find(), sessions.every_record()) == (session, [session])
    sessions.remember_pending(pending)
    assert sessions.every_record() == [session]
    sessions.forget(session)
    assert list(state.iterdir()) == []


def test_another_gateway_in_the_settings() -> None:
    """A session that was reached through another gateway than that of the settings is found by its record; of two, none is."""
    old = a_session("calder", gateway="old.example")
    sessions.remember(old)
    for host in (None, "calder", "student.compute"):
        assert sessions.find_by_record(settings.load(Context(), host=host)) == old
    assert sessions.find_by_record(settings.load(Context(), host="bonnington")) is None
    sessions.remember(a_session("calder", gateway="older.example", host_key="BBBB"))
    assert sessions.find_by_record(settings.load(Context(), host="calder")) is None


def test_one_server_has_one_record() -> None:
    """Through another gateway, by another name or port, a machine has the same record; one with another key has its own."""
    sessions.remember(a_session(gateway="old.example"))
    again = a_session(gateway="new.example", requested="labj", ssh_port=2222)
    sessions.remember(again)
    assert sessions.every_session() == [again]
    assert sessions.other_records(again) == []
    new_key = a_session(host_key="BBBB")
    sessions.remember(new_key)
    sessions.remember(a_session(host_key="CCCC", pid=101))
    assert sessions.other_records(new_key) == [again]


def test_a_spoilt_record_is_passed_over(state: Path) -> None:
    """Records that are cut short, of another kind or unreadable do not hide the good one."""
    good = a_session()
    sessions.remember(good)
    for name, text in {
        "cut": b'{"host": "x',
        "list": b"[]",
        "other": b'{"host": 1}',
        "bytes": b"\xff\xfe",
    }.items():
        (state / f"{name}.session.json").write_bytes(text)
    assert sessions.every_session() == [good]


def test_a_tunnel_is_as_open_as_its_lock() -> None:
    """A tunnel counts while its process holds the lock, whatever the record says afterwards."""
    session = a_session()
    tunnel = Tunnel(pid=1, local_port=8888, remote_port=8889, state="open")
    with sessions.lock_tunnel(session, 1):
        sessions.remember_tunnel(session, tunnel)
        assert sessions.tunnel_of(session) == tunnel
    assert sessions.tunnel_of(session) is None


@pytest.mark.parametrize("host", ["ashbury", "ashbury.example.org", "10.0.0.1", "fe80::1"])
def test_names_of_files(state: Path, host: str) -> None:
    """Any host has a file of its own in the folder, and two machines of one name have two."""
    sessions.remember(a_session(host))
    sessions.remember(a_session(host, host_key="BBBB"))
    assert len(list(state.glob("*.session.json"))) == 2
