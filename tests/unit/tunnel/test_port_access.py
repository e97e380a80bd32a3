"""A server is verified over whatever carries its connections."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tunnel import Forwarder, port_access
from tests.kit.sessions import make_session

SESSION = make_session()


class Steps:
    """The calls, in order, of a connection whose host may forbid forwarding; each transport has a name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refusal: str, failing: set[str]) -> None:
        self.calls: list[str] = []
        self.connection: Any = SimpleNamespace(transport="sshd", port_transport="sshd", is_connected=True)

        def verify_server(session: object, dial: Any, timeout_s: float) -> float:
            transport, port = dial.args
            assert port == SESSION.remote_port
            self.calls.append(f"verify over {transport}")
            if transport in failing:
                raise RemoteError(f"{transport} failed", hint="x")
            return 7.0

        def forwarding_refusal(connection: object, port: int) -> str:
            self.calls.append("ask")
            return refusal

        def use_relay(connection: Any, refusal: str) -> None:
            connection.port_transport = "relay"

        monkeypatch.setattr(port_access, "verify_server", verify_server)
        monkeypatch.setattr(port_access, "forwarding_refusal", forwarding_refusal)
        monkeypatch.setattr(port_access, "use_relay", use_relay)

    def verify(self) -> tuple[str, float | None]:
        forwarder = cast(Forwarder, SimpleNamespace(open_connection=lambda transport, port: None))
        return port_access.verify_over(SESSION, cast(Connection, self.connection), forwarder, 1)


def test_forwarding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is verified through sshd costs no further question."""
    steps = Steps(monkeypatch, "prohibited", set())
    assert steps.verify() == ("", 7.0)
    assert steps.calls == ["verify over sshd"]


def test_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the host forbids forwarding, the server is verified through the relay."""
    steps = Steps(monkeypatch, "prohibited", {"sshd"})
    assert steps.verify() == ("prohibited", 7.0)
    assert steps.calls == ["verify over sshd", "ask", "verify over relay"]


def test_another_server_behind_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot be verified through the relay either is an error."""
    steps = Steps(monkeypatch, "prohibited", {"sshd", "relay"})
    with pytest.raises(RemoteError, match="relay failed"):
        steps.verify()
    del steps.calls[:]
    with pytest.raises(RemoteError, match="relay failed"):
        steps.verify()
    assert steps.calls == ["verify over relay"], "the relay that runs is used"


@pytest.mark.parametrize("is_connected", [True, False])
def test_no_refusal(monkeypatch: pytest.MonkeyPatch, is_connected: bool) -> None:
    """Where the host allows forwarding, or cannot be asked any more, the first error is the one that counts."""
    steps = Steps(monkeypatch, "" if is_connected else "prohibited", {"sshd"})
    steps.connection.is_connected = is_connected
    with pytest.raises(RemoteError, match="sshd failed"):
        steps.verify()
    assert steps.calls == ["verify over sshd", "ask"][: 1 + is_connected]
