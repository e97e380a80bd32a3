"""No tunnel opens to a further port on which somebody else listens."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tunnel import port_owners

CONNECTION = cast(Connection, SimpleNamespace(label="ashbury", original_host="ashbury"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each call of the program on the host, which answers with the first entry of the list, if there is one."""
    calls: list[Any] = []

    def run_program(
        connection: Connection, name: str, parameters: dict[str, Any], *, timeout_s: float
    ) -> Any:
        reply = calls.pop()
        calls.append((name, parameters))
        return reply

    monkeypatch.setattr(port_owners, "run_program", run_program)
    return calls


def test_nobody_else(asked: list[Any]) -> None:
    """Where nobody else listens, all the ports were asked for; without a port nothing is."""
    port_owners.check_port_owners(CONNECTION, [])
    asked.append({"problem": "", "foreign": []})
    port_owners.check_port_owners(CONNECTION, [6006, 8787])
    assert asked == [("port_owners", {"ports": [6006, 8787]})]


@pytest.mark.parametrize("user", [33, 1001, 65534])
def test_somebody_else(asked: list[Any], user: int) -> None:
    """Another account's listener is refused with its user ID and the port."""
    asked.append({"problem": "", "foreign": [[8787, user]]})
    with pytest.raises(RemoteError, match=rf"user ID {user}\) listens on port 8787 of ashbury") as raised:
        port_owners.check_port_owners(CONNECTION, [6006, 8787])
    assert "--forward" in raised.value.hint


@pytest.mark.parametrize("reply", [{}, {"foreign": None}, {"foreign": [[1]]}, {"foreign": [["1", 2]]}])
def test_a_reply_that_is_none(asked: list[Any], reply: dict[str, Any]) -> None:
    """A reply that does not say who listens opens no tunnel."""
    asked.append({"problem": "", **reply})
    with pytest.raises(RemoteError):
        port_owners.check_port_owners(CONNECTION, [8787])
