"""Which of several sessions a command uses: a named host or user always wins."""

from collections.abc import Iterator
from getpass import getuser

import psutil
import pytest

from tests.kit.cli import User, assert_error, assert_success
from tests.kit.leaks import is_alive


@pytest.fixture
def one(user: User) -> Iterator[User]:
    """The user, with a session on ashbury."""
    assert_success(user.fab("-H", "ashbury", "serve"))
    yield user
    user.stop_all_sessions()


@pytest.fixture
def two(one: User) -> User:
    """The user, with another session on bonnington."""
    assert_success(one.fab("-H", "bonnington", "serve"))
    return one


def hosts(user: User) -> list[str]:
    """The hosts whose server runs."""
    return [session["host"] for session in user.status() if session["server"] == "running"]


def test_host_variable(one: User) -> None:
    """`stop` and `serve` with INVOKE_NOTEBOOK_HOST use that host, and leave the only session alone."""
    server = psutil.Process(one.only_record()["pid"])
    result = assert_success(one.fab("stop", INVOKE_NOTEBOOK_HOST="bonnington"))
    assert "no server of yours was running on bonnington" in result.stdout
    assert f"there is a session: {getuser()}@ashbury through sandbox" in result.stdout
    assert is_alive(server)
    assert_success(one.fab("serve", INVOKE_NOTEBOOK_HOST="bonnington"))
    assert hosts(one) == ["ashbury", "bonnington"]
    assert_success(one.fab("stop", "--all"))
    assert one.status() == []


def test_user_variable(one: User) -> None:
    """`status` and `status --json` show whose session it is, and a user that a variable names is not taken for them."""
    assert f"{getuser()}@ashbury" in assert_success(one.fab("status")).stdout
    assert one.only_session()["user"] == getuser()
    assert_error(one.fab("tunnel", "--detach", INVOKE_USER="somebody"), 1, "there is no session on")
    assert_error(one.fab("stop", INVOKE_USER="somebody"), 2, f"{getuser()}@ashbury", "stop --all")
    assert hosts(one) == ["ashbury"]
    assert_success(one.fab("stop", INVOKE_USER=getuser()))
    assert one.status() == []


def test_host_in_user_file(one: User) -> None:
    """A host in the user's own file counts as named; a flag wins over it."""
    file = one.home / ".invoke.yaml"
    file.write_text("notebook:\n  host: bonnington\n")
    try:
        assert_error(one.fab("tunnel", "--detach"), 1, "there is no session on bonnington")
        assert hosts(one) == ["ashbury"]
        assert_success(one.fab("-H", "ashbury", "stop"))
    finally:
        file.unlink()
    assert one.status() == []


TASKS = (("stop",), ("tunnel", "--detach"), ("serve",), ("secure", "--renew"), ("logs",))


def test_several(two: User) -> None:
    """When several sessions match and there is no terminal, nothing is done, and they are listed. At a terminal a
    number picks the session; any other input, Ctrl-C and Ctrl-D do nothing.
    """
    before = [session["pid"] for session in two.status()]
    for task in TASKS:
        assert_error(
            two.fab(*task), 2, "2 sessions match", f"{getuser()}@ashbury", f"{getuser()}@bonnington", "--host"
        )
        assert [session["pid"] for session in two.status()] == before, task
    with two.at_terminal("fab", "stop") as terminal:
        terminal.expect(r"which session\?")
        terminal.type("3")
        assert terminal.end() == 2, terminal.output
    assert hosts(two) == ["ashbury", "bonnington"]
    with two.at_terminal("fab", "stop") as terminal:
        terminal.expect(r"which session\?")
        terminal.interrupt()
        terminal.expect(r"(\n|\033\[K)interrupted\r\n$")
        assert terminal.end() == 130, terminal.output
    with two.at_terminal("fab", "stop") as terminal:
        terminal.expect(r"which session\?")
        terminal.end_input()
        terminal.expect(r"error:\S* 2 sessions match\r\nhint: \S")
        assert terminal.end() == 2, terminal.output
    assert hosts(two) == ["ashbury", "bonnington"]
    with two.at_terminal("fab", "stop") as terminal:
        number = terminal.expect(r"(\d) +\S* \S*@bonnington")[1]
        terminal.expect(r"which session\?")
        terminal.type(number)
        assert terminal.end() == 0, terminal.output
    assert hosts(two) == ["ashbury"]
