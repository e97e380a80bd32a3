"""The checks of `doctor` for the replies of a host."""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from invoke.context import Context

from notebooks_over_ssh import diagnostics
from notebooks_over_ssh.config import settings
from notebooks_over_ssh.diagnostics import MIN_FREE_BYTES, _Checks
from notebooks_over_ssh.errors import ConnectError, RemoteError
from notebooks_over_ssh.jupyter import server
from notebooks_over_ssh.jupyter.host_info import HostInfo
from notebooks_over_ssh.jupyter.remote_result import RemoteProblem
from notebooks_over_ssh.jupyter.security import Exposure, InsecureSetting, SecurityStatus
from notebooks_over_ssh.ssh.prompting import CredentialPrompter, NullPrompter
from tests.kit.certificates import authority, certificate, names, new_key
from tests.kit.sessions import make_session

NOW = 1_800_000_000.0
HOST = HostInfo(
    host="ashbury",
    shell="/bin/bash",
    time=NOW,
    free_bytes=MIN_FREE_BYTES,
    directory="/home/me",
    directory_problem=None,
    directory_write_problem="",
    load=0.5,
    processors=4,
)
KEY = new_key()
SECURITY = SecurityStatus(
    host="ashbury",
    version="7",
    argon2=True,
    password_hash="argon2:x",
    password_problem="",
    certificate_pem=certificate(KEY),
    certificate_problem="",
    insecure_settings=(),
    exposed=(),
    credentials_digest="",
    stale_server_pid=0,
    running_server=None,
    time=time.time(),
)
SETTING = InsecureSetting(path="/etc/jupyter/x.py", name="ServerApp.ip", value="'*'", is_owned=False)


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The checks of a host that answers HOST and SECURITY at once."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    created: Any = _Checks(settings.load(Context()), CredentialPrompter(NullPrompter()))
    created.hops = (SimpleNamespace(label="ashbury"),)
    created.host, created.query_interval, created.security = HOST, (NOW, NOW), SECURITY
    return created


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (
            "{gateway: gate, tasks: {dedupe: false}, user: me}",
            " (without effect: gateway, user in ~/.fabric.yaml)",
        ),
        ("{tasks: {dedupe: false}, run: {echo: true}, theirs: 1}", ""),
        ("[", ""),
    ],
)
def test_fabric_file(checks: Any, tmp_path: Path, text: str, note: str) -> None:
    """What the user's ~/.fabric.yaml sets for Fabric only is named, unless it is not for these tasks anyway."""
    (tmp_path / ".fabric.yaml").write_text(text)
    assert checks._settings() == f"student.compute through sandbox{note}"


@pytest.mark.parametrize(
    ("offset_s", "duration_s", "problem"),
    [
        (0, 0, ""),
        (299, 0, ""),
        (-299, 0, ""),
        (301, 0, "is 301 s ahead of this machine's"),
        (-301, 0, "is 301 s behind this machine's"),
        (320, 60, ""),
        (-20, 60, ""),
        (361, 60, "is 301 s ahead of"),
        (-301, 60, "is 301 s behind"),
    ],
)
def test_clock(checks: Any, offset_s: float, duration_s: float, problem: str) -> None:
    """Clocks may differ by five minutes, and the reply's duration does not count as a difference."""
    checks.query_interval = NOW, NOW + duration_s
    checks.host = msgspec.structs.replace(HOST, time=NOW + offset_s)
    if problem:
        with pytest.raises(RemoteError, match=problem):
            checks._clock()
    else:
        assert "agree" in checks._clock()


def test_space(checks: Any) -> None:
    """Less than the minimum of free space is a problem."""
    assert "0.1 GB free" in checks._space()
    checks.host = msgspec.structs.replace(HOST, free_bytes=MIN_FREE_BYTES - 1)
    with pytest.raises(RemoteError, match="free in the home folder"):
        checks._space()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"directory_problem": RemoteProblem(problem="directory-inaccessible", directory="/x")}, "no permission"),
        ({"directory_problem": RemoteProblem(problem="directory-missing", directory="/x")}, "no folder /x"),
        ({"directory_write_problem": "Read-only file system"}, "saved in /home/me .*: Read-only file system"),
    ],
)  # fmt: skip
def test_directory(checks: Any, changes: dict[str, Any], problem: str) -> None:
    """A forbidden, a missing and a read-only folder are three different problems."""
    assert checks._directory() == "/home/me"
    checks.host = msgspec.structs.replace(HOST, **changes)
    with pytest.raises(RemoteError, match=problem):
        checks._directory()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"password_problem": "missing"}, "password: missing"),
        ({"certificate_problem": "missing"}, "certificate: missing"),
        ({"certificate_pem": authority(KEY)}, "certificate: it can sign other certificates"),
        ({"certificate_pem": certificate(KEY, names=names("x"))}, "certificate: it is not valid for localhost"),
        ({"exposed": (Exposure(path="/home/me/.jupyter", problem="writable"),)}, "/home/me/.jupyter"),
        ({"insecure_settings": (SETTING,)}, "/etc/jupyter/x.py sets ServerApp.ip"),
        ({"certificate_pem": certificate(KEY, days=(-9, -1))}, "expired on"),
        ({"certificate_pem": certificate(KEY, days=(1, 90))}, "is not valid before"),
        ({"certificate_pem": certificate(KEY, days=(-9, 10))}, "expires on"),
    ],
)  # fmt: skip
def test_protection(checks: Any, changes: dict[str, Any], problem: str) -> None:
    """Everything that leaves the server open, or will soon, is a problem with a hint."""
    assert "password set" in checks._certificate()
    checks.security = msgspec.structs.replace(cast(Any, SECURITY), **changes)
    with pytest.raises(RemoteError, match=problem) as raised:
        checks._certificate()
    assert raised.value.hint


def test_relay_that_does_not_run(checks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the host forbids forwarding, its relay is started, and one that fails is the problem."""
    monkeypatch.setattr(diagnostics, "forwarding_refusal", lambda connection, port: "prohibited")
    refusals: list[str] = []
    monkeypatch.setattr(diagnostics, "use_relay", lambda connection, refusal: refusals.append(refusal))
    assert "forbids forwarding (prohibited)" in checks._loopback() and refusals == ["prohibited"]

    def fail(connection: object, refusal: str) -> None:
        raise ConnectError("no program", hint="x")

    monkeypatch.setattr(diagnostics, "use_relay", fail)
    with pytest.raises(ConnectError, match="no program"):
        checks._loopback()


def test_ended_server(checks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session whose server has ended is a problem, with the command that starts it again."""
    checks.session = make_session()
    state = SimpleNamespace(running=True, pid=7)
    monkeypatch.setattr(server, "get_state", lambda connection: state)
    assert "port 8888 (process 7)" in checks._server()
    state.running = False
    with pytest.raises(RemoteError, match="server on ashbury has ended") as raised:
        checks._server()
    assert "serve" in raised.value.hint


@pytest.mark.parametrize("failing", ["verify_over", "check_dates", "check_websocket", None])
def test_websocket(checks: Any, monkeypatch: pytest.MonkeyPatch, failing: str | None) -> None:
    """The server must be verified, its certificate be valid now, and a WebSocket be answered."""
    checks.session = make_session(certificate_pem=SECURITY.certificate_pem)
    checks.hops[-1].port_transport = None

    def step(name: str) -> Callable[..., tuple[str, float]]:
        def run(*arguments: object) -> tuple[str, float]:
            if name == failing:
                raise RemoteError(f"{name} failed", hint="x")
            return "", 0.0

        return run

    for name in ("verify_over", "check_dates", "check_websocket"):
        monkeypatch.setattr(diagnostics, name, step(name))
    if failing:
        with pytest.raises(RemoteError, match=f"{failing} failed"):
            checks._websocket()
    else:
        assert "answers a WebSocket request" in checks._websocket()
