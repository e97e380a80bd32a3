"""The commands in any order, each any number of times."""

import pytest

from tests.kit.cli import User, assert_error, assert_success, port_in
from tests.kit.jupyter_client import Browser
from tests.kit.leaks import listening_ports, processes_below
from tests.kit.ports import free_port
from tests.kit.users import PASSWORD

UP, SERVE, TUNNEL, STATUS, STOP = "up", "serve", "tunnel", "status", "stop"


@pytest.mark.parametrize(
    "order",
    [(UP, SERVE, TUNNEL, STATUS, STOP), (SERVE, STATUS, TUNNEL, UP, STOP), (STOP, SERVE, UP, TUNNEL, STATUS)],
    ids=" ".join,
)
def test_every_order(user: User, order: tuple[str, ...]) -> None:
    """Every command can follow every other and itself: one server runs, and one tunnel."""
    port = free_port()
    commands = {
        UP: ("fab", "-H", "ashbury", "up", "--detach"),
        SERVE: ("fab", "-H", "ashbury", "serve"),
        TUNNEL: ("invoke", "tunnel", "--local-port", str(port), "--detach"),
        STATUS: ("invoke", "status", "--json"),
        STOP: ("fab", "stop", "--all"),
    }
    pids, ports = set[int](), set[int]()
    for step in order:
        for _ in range(2):
            result = assert_success(user.run(*commands[step]))
            ports |= {port_in(result)} if step in (UP, TUNNEL) else set()
        if step in (UP, SERVE):
            pids.add(user.record("ashbury")["pid"])
    assert len(pids) == 1
    if order[-1] != STOP:
        session = user.only_session()
        assert (session["server"], session["tunnel"], session["local_port"]) == ("running", "open", port)
        with Browser(session["local_port"], user.certificate_pem("ashbury")) as browser:
            assert browser.log_in(PASSWORD)
        assert_success(user.fab("stop", "--all"))
    assert user.status() == []
    assert port in ports and ports.isdisjoint(listening_ports(processes_below(user.home)))
    assert list(user.sessions.glob("*")) == []


def test_tunnel_without_a_session(user: User) -> None:
    """`tunnel` without a server is refused with a hint."""
    assert_error(user.invoke("tunnel", "--detach"), 1, "student.compute", "serve")
    assert_error(user.fab("-H", "ashbury", "tunnel", "--detach"), 1, "ashbury", "serve")
    assert list(user.sessions.glob("*")) == []
