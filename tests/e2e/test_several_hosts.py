"""`fab -H a,b` with a server on each of two hosts."""

from tests.kit.cli import User, assert_error, assert_success


def test_two_hosts(user: User) -> None:
    """`up --detach` opens a tunnel to each host; `status` shows both once; `stop -H a,b` stops both."""
    hosts = ("-H", "ashbury,bonnington")
    assert_error(user.fab(*hosts, "up"), 2, "`up` runs until Ctrl-C")
    assert user.status() == []
    assert_success(user.fab(*hosts, "up", "--detach"))
    sessions = user.status()
    assert {(session["host"], session["tunnel"]) for session in sessions} == {
        ("ashbury", "open"),
        ("bonnington", "open"),
    }
    assert len({session["local_port"] for session in sessions}) == 2
    assert assert_success(user.fab(*hosts, "status")).stdout.count(": running") == 2
    assert_success(user.fab(*hosts, "stop"))
    assert user.status() == []
