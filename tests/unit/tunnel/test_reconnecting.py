"""The reconnect loop: when to connect and when to wait for the user."""

from typing import Any, ClassVar, cast

import pytest

from notebooks_over_ssh.errors import AuthenticationError, ConnectError, HostKeyError
from notebooks_over_ssh.ssh import connections
from notebooks_over_ssh.ssh.prompting import CredentialPrompter, NullPrompter
from notebooks_over_ssh.tunnel import reconnecting
from notebooks_over_ssh.tunnel.events import LoginRequired
from notebooks_over_ssh.tunnel.reconnecting import ATTEMPTS_WITH_LOGIN, Attempt, Reconnector


class FakeProbe:
    """A probe of a first hop that answers."""

    is_possible = True
    open_probes: ClassVar[set["FakeProbe"]] = set()

    def __init__(self, _: object) -> None:
        self.open_probes.add(self)

    def responds(self) -> bool:
        return True

    def close(self) -> None:
        self.open_probes.discard(self)


class LostConnection:
    """The monitor of a connection that has ended."""

    connection = None
    has_ended = True
    last_received_at = 0.0

    def check(self) -> None: ...


class EnterPresser(NullPrompter):
    """A user who logs in at every prompt."""

    is_interactive = True

    def ask(self, prompt: str) -> str:
        return ""


class FakeSession:
    gateway = None
    host = "ashbury"


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnecting, "Probe", FakeProbe)
    monkeypatch.setattr(reconnecting, "MAX_BACKOFF_S", 0.0)
    monkeypatch.setattr(connections, "close_all", lambda: None)


def make_reconnector(*, has_login: bool = False) -> Reconnector:
    """A reconnector without delays between attempts."""
    return Reconnector(cast(Any, LostConnection()), cast(Any, FakeSession()), has_login=has_login)


@pytest.fixture
def reconnector() -> Reconnector:
    """A reconnector that has to log in."""
    return make_reconnector()


def fail(reconnector: Reconnector, error: Exception) -> None:
    with reconnector.attempt():
        raise error


def test_steps(reconnector: Reconnector) -> None:
    """Other errors are retried, a wrong host key is reported once, a refused login waits for the user, success ends
    it.
    """
    steps = reconnector.steps(CredentialPrompter(EnterPresser()))
    assert next(steps) == Attempt("")
    fail(reconnector, ConnectError("unreachable"))
    assert next(steps) == Attempt("")
    fail(reconnector, HostKeyError("wrong key"))
    assert next(steps) == LoginRequired("wrong key")
    assert next(steps) == Attempt("wrong key")
    fail(reconnector, HostKeyError("wrong key"))
    assert next(steps) == Attempt("wrong key")
    fail(reconnector, AuthenticationError("refused"))
    assert next(steps) == LoginRequired("refused")
    assert next(steps) == Attempt("")
    with reconnector.attempt():
        pass
    assert list(steps) == []
    assert reconnector.succeeded
    assert not FakeProbe.open_probes


@pytest.mark.parametrize("has_login", [False, True])
def test_login_that_needs_the_user(*, has_login: bool) -> None:
    """A login with a one-time code waits for the user at once; while the connection to a login node is still there,
    only after some attempts over that have failed.
    """
    credentials = CredentialPrompter(EnterPresser())
    credentials.requires_interaction = True
    reconnector = make_reconnector(has_login=has_login)
    steps = reconnector.steps(credentials)
    for _ in range(ATTEMPTS_WITH_LOGIN if has_login else 0):
        assert next(steps) == Attempt("")
        fail(reconnector, ConnectError("unreachable"))
    assert isinstance(next(steps), LoginRequired)
    steps.close()


def test_closed_early(reconnector: Reconnector) -> None:
    """A generator that is closed before its end leaves no probe open."""
    steps = reconnector.steps(CredentialPrompter(NullPrompter()))
    next(steps)
    assert FakeProbe.open_probes
    steps.close()
    assert not FakeProbe.open_probes
