"""No tunnel opens to an additional port on which another account listens."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tunnel import port_owners

CONNECTION = cast(Connection, SimpleNamespace(label="ashbury", original_host="ashbury"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls of the program on the host, which replies with the first entry of the list, if there is one."""
    calls: list[Any] = []

    def run_program(
        connection: Connection, name: str, parameters: dict[str, Any], *, timeout_s: float
    ) -> Any:
        reply = calls.pop()
        calls.append((name, parameters))
        return reply

    monkeypatch.setattr(port_owners, "run_program", run_program)
    return calls


def test_no_other_account(calls: list[Any]) -> None:
    """Without other accounts' listeners the tunnel opens, after a query for all ports; without ports there is no
    query.
    """
    port_owners.check_port_owners(CONNECTION, [])
    calls.append({"problem": "", "is_known": True, "foreign": []})
    port_owners.check_port_owners(CONNECTION, [6006, 8787])
    assert calls == [("port_owners", {"ports": [6006, 8787]})]


@pytest.mark.parametrize("user", [33, 1001, 65534])
def test_another_account(calls: list[Any], user: int) -> None:
    """Another account's listener is refused with its user ID and the port."""
    calls.append({"problem": "", "is_known": True, "foreign": [[8787, user]]})
    with pytest.raises(RemoteError, match=rf"user ID {user}\) listens on port 8787 of ashbury") as raised:
        port_owners.check_port_owners(CONNECTION, [6006, 8787])
    assert "--forward" in raised.value.hint


@pytest.mark.parametrize("reply", [{}, {"foreign": None}, {"foreign": [[1]]}, {"foreign": [["1", 2]]}])
def test_invalid_reply(calls: list[Any], reply: dict[str, Any]) -> None:
    """No tunnel opens after a reply that does not say who listens."""
    calls.append({"problem": "", "is_known": True, **reply})
    with pytest.raises(RemoteError):
        port_owners.check_port_owners(CONNECTION, [8787])


def test_unknown_listeners(calls: list[Any]) -> None:
    """No tunnel opens to an additional port where the host does not show who listens."""
    calls.append({"problem": "", "is_known": False, "foreign": []})
    with pytest.raises(RemoteError, match="does not show whose programs listen"):
        port_owners.check_port_owners(CONNECTION, [8787])
