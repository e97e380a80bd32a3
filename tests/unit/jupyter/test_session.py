"""The records of sessions, whatever else is in their folder."""

import json
from pathlib import Path

import msgspec
import pytest
from invoke.context import Context

from notebooks_over_ssh.config import settings
from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import AnySession, PendingSession, RemoteHost, Tunnel
from notebooks_over_ssh.launchers.base import Job
from notebooks_over_ssh.ssh.host_keys import Machine
from notebooks_over_ssh.tasks.serve import find_duplicates
from tests.kit.sessions import make_session


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without records; returns the folder for them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "notebooks-over-ssh" / "sessions"


def find(host: str | None = None) -> AnySession | None:
    return sessions.find(settings.load(Context(), host=host))


def test_save_and_delete(state: Path) -> None:
    """A session is found until it is deleted, and nothing is left of it then; a second delete does nothing."""
    session = make_session()
    sessions.save(session)
    sessions.save(session)
    assert sessions.list_sessions() == [session]
    assert all(path.stat().st_mode & 0o077 == 0 for path in [state, *state.iterdir()])
    sessions.delete(session)
    sessions.delete(session)
    assert list(state.iterdir()) == []


def test_selection() -> None:
    """The only session is the default; of several, the one named by its own or its pool's name; otherwise they are
    listed.
    """
    assert find() is None
    first = make_session("ashbury")
    sessions.save(first)
    assert find() == find("ashbury") == find("student.compute") == find("me@ashbury") == first
    assert find("bonnington") is find("other@ashbury") is find("ashbury:2222") is None
    second = make_session("bonnington", requested_host="bonnington")
    sessions.save(second)
    assert find("bonnington") == second
    assert find("ashbury") == find("ASHBURY") == find("student.compute") == first
    with pytest.raises(ConfigError, match="2 sessions match") as caught:
        find()
    assert caught.value.detail == ("me@ashbury through sandbox", "me@bonnington through sandbox")
    sessions.save(make_session("calder", gateway="elsewhere"))
    assert find("calder") is None
    sessions.save(make_session("ashbury", user="other"))
    assert find("me@ashbury") == first
    with pytest.raises(ConfigError, match="2 sessions match"):
        find("ashbury")


def test_own_name_first() -> None:
    """A host is found by its own name before one that was named so, and by either in any case."""
    requested = make_session("bonnington", requested_host="ashbury")
    sessions.save(requested)
    assert find("ashbury") == requested
    own = make_session("Ashbury", requested_host="Student.Compute")
    sessions.save(own)
    assert find("ashbury") == find("ASHBURY") == find("student.compute") == own


@pytest.mark.parametrize(
    ("variables", "file", "assert_found"),
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
def test_named_host_or_user_wins(
    variables: dict[str, str], file: str, assert_found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only session is not used when a variable or the user's own file names another host, user, port or gateway."""
    session = make_session("ashbury")
    sessions.save(session)
    (tmp_path / ".invoke.yaml").write_text(file)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find() == (session if assert_found else None)


def test_picked_session() -> None:
    """Settings that name one session match no other, whatever else is on record."""
    recorded = [
        make_session(
            host, user=user, gateway=gateway, ssh_port=port, host_key=f"key through {gateway}, {port}"
        )
        for host in ("ashbury", "fe80::1")
        for user in ("me", "other")
        for gateway in (None, "sandbox")
        for port in (None, 2222)
    ]
    for session in recorded:
        sessions.save(session)
    for session in recorded:
        assert sessions.find(sessions.with_session(settings.load(Context()), session)) == session


def test_pending_session(state: Path) -> None:
    """A pending session is found like any other, until its server is on record or it is deleted."""
    session = make_session()
    pending = PendingSession(**{name: getattr(session, name) for name in RemoteHost.__struct_fields__})
    sessions.save_pending(pending)
    assert find() == find("ashbury") == pending
    assert (sessions.list_records(), sessions.list_sessions()) == ([pending], [])
    sessions.save(session)
    assert (find(), sessions.list_records()) == (session, [session])
    sessions.save_pending(pending)
    assert sessions.list_records() == [session]
    sessions.delete(session)
    assert list(state.iterdir()) == []


def test_another_gateway_in_the_settings() -> None:
    """A session that was connected to through another gateway is found by its record; of two, none is."""
    old = make_session("calder", gateway="old.example")
    sessions.save(old)
    for host in (None, "calder", "student.compute"):
        assert sessions.find_any_gateway(settings.load(Context(), host=host)) == old
    assert sessions.find_any_gateway(settings.load(Context(), host="bonnington")) is None
    sessions.save(make_session("calder", gateway="older.example", host_key="BBBB"))
    assert sessions.find_any_gateway(settings.load(Context(), host="calder")) is None


def test_gateway_of_the_settings() -> None:
    """Of two sessions on a host, the one through the gateway of the settings is found."""
    own = make_session("calder")
    sessions.save(own)
    sessions.save(make_session("calder", gateway="old.example", host_key="BBBB"))
    assert sessions.find_any_gateway(settings.load(Context(), host="calder")) == own


def test_one_server_has_one_record() -> None:
    """Through another gateway, by another name or port, a machine has the same record; one with another key has its
    own.
    """
    sessions.save(make_session(gateway="old.example"))
    renamed = make_session(gateway="new.example", requested_host="labj", ssh_port=2222)
    sessions.save(renamed)
    assert sessions.list_sessions() == [renamed]
    assert find_duplicates(renamed) == []
    new_key = make_session(host_key="BBBB")
    sessions.save(new_key)
    sessions.save(make_session(host_key="CCCC", pid=101))
    sessions.save(make_session("bonnington"))
    assert find_duplicates(new_key) == [renamed]


def test_damaged_record(state: Path) -> None:
    """Records that are truncated, of another type or unreadable do not hide the valid one."""
    good = make_session()
    sessions.save(good)
    for name, text in {
        "cut": b'{"host": "x',
        "list": b"[]",
        "other": b'{"host": 1}',
        "bytes": b"\xff\xfe",
        "half a character": b'{"host": "\\ud800"}',
        "deep": b'{"host": ' + b"[" * 50_000,
    }.items():
        (state / f"{name}.session.json").write_bytes(text)
    assert sessions.list_sessions() == [good]


def test_tunnel_lock() -> None:
    """A tunnel counts as open while its process holds the lock, whatever the record says afterwards."""
    session = make_session()
    tunnel = Tunnel(pid=1, local_port=8888, remote_port=8889, state="open")
    with sessions.lock_tunnel(session, 1):
        sessions.save_tunnel(session, tunnel)
        assert sessions.get_tunnel(session) == tunnel
    assert sessions.get_tunnel(session) is None


def test_records_of_an_earlier_version(state: Path) -> None:
    """A session and its open tunnel are found by records with the field names of an earlier version."""
    session = make_session()
    tunnel = Tunnel(
        pid=1,
        local_port=8888,
        remote_port=8889,
        state="reconnecting",
        extra_ports={8050: 8051},
        login_required="why",
    )
    old_names = {"requested_host": "requested", "extra_ports": "also", "login_required": "waits_for_you"}
    with sessions.lock_tunnel(session, 1):
        sessions.save(session)
        sessions.save_tunnel(session, tunnel)
        for path in state.glob("*.json"):
            fields = json.loads(path.read_text())
            assert old_names.keys() & fields.keys()
            path.write_text(json.dumps({old_names.get(name, name): value for name, value in fields.items()}))
        assert sessions.list_sessions() == [session]
        assert sessions.get_tunnel(session) == tunnel


@pytest.mark.parametrize("host", ["ashbury", "ashbury.example.org", "10.0.0.1", "fe80::1"])
def test_file_names(state: Path, host: str) -> None:
    """Any host has its own file in the folder, and two machines of one name have two."""
    sessions.save(make_session(host))
    sessions.save(make_session(host, host_key="BBBB"))
    assert len(list(state.glob("*.session.json"))) == 2


def test_record_without_launcher(state: Path) -> None:
    """A record of a version without launchers is one of a server that runs on the host itself."""
    session = make_session()
    sessions.save(session)
    (path,) = state.glob("*.session.json")
    fields = json.loads(path.read_text())
    del fields["launcher"], fields["job"]
    path.write_text(json.dumps(fields))
    assert sessions.list_sessions() == [session]
    assert session.login_machine == Machine(session.host, session.host_key)


def test_record_of_a_job() -> None:
    """The record of a server in a job has the job, and the host that leads to it may be any login node."""
    job = Job(id=12, cluster="eddie", token="0123456789abcdef", submitted="2026-01-01T00:00:00Z")
    session = make_session(launcher="slurm", job=job)
    sessions.save(session)
    assert sessions.list_sessions() == [session]
    assert session.login_machine is None


def test_next_job(state: Path) -> None:
    """The session of a cluster keeps its files when another job takes the place of one; while that starts, it is
    pending. Another gateway or login node may lead to another cluster.
    """
    session = make_session("node1", launcher="slurm")
    sessions.save(session)
    following = msgspec.structs.replace(session, host="node2", host_key="BBBB")
    pending = PendingSession(**{name: getattr(following, name) for name in RemoteHost.__struct_fields__})
    sessions.save_pending(pending)
    assert sessions.list_records() == [pending]
    sessions.save(following)
    assert sessions.list_records() == [following]
    assert sessions.reload(session) == following
    changes: list[dict[str, str | None]] = [{"gateway": None}, {"requested_host": "other"}, {"user": "other"}]
    assert all(msgspec.structs.replace(session, **change).name != session.name for change in changes)
