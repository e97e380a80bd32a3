"""`--dry` with a running server and tunnel: what it prints, and that nothing changes."""

import psutil
import pytest

from tests.kit.cli import User, assert_success


@pytest.fixture(scope="module")
def session(user: User) -> dict[str, object]:
    """A session with a server and a tunnel."""
    assert_success(user.fab("-H", "ashbury", "up", "--detach"))
    return user.only_session()


# Each command, and what it prints.
COMMANDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("stop", "--all", "--force"): ("would stop the server on ashbury", "would close the tunnel"),
    ("stop", "--force"): ("would stop the server on ashbury", "would close the tunnel"),
    ("-H", "ashbury", "secure", "--renew"): ("then {user}@ashbury", "would set a new password"),
    ("serve",): ("then {user}@ashbury", "or find the running one"),
    ("tunnel", "--local-port", "9753"): ("would keep or replace the tunnel", "port 9753"),
    ("trust",): ("would add the certificate of ashbury",),
    ("untrust",): ("would remove the certificate of ashbury",),
    ("-H", "barnes", "up", "--detach"): (
        "then {user}@barnes",
        "would start jupyter notebook on barnes",
    ),
    ("logs",): ("then {user}@ashbury", "would print the last 50 lines"),
    ("doctor",): ("then {user}@ashbury", "would check"),
    ("sandbox.stop",): ("would remove the session on ashbury", "would stop the gateway"),
}


def test_changes_nothing(user: User, session: dict[str, object]) -> None:
    """A dry run prints host, route and process, and leaves the server, the tunnel, their records and all files."""
    files = user.files()
    records = {path: path.read_bytes() for path in user.sessions.iterdir()}
    for arguments, expected in COMMANDS.items():
        output = assert_success(user.fab("--dry", *arguments)).stdout
        for text in (*expected, "dry run: nothing was changed"):
            assert text.format(user=session["user"]) in output
        assert user.files() == files, arguments
        assert {path: path.read_bytes() for path in user.sessions.iterdir()} == records, arguments
        assert psutil.pid_exists(int(str(session["pid"]))), arguments
    assert user.only_session() == session


@pytest.mark.parametrize("program", ["fab", "invoke", "notebooks"])
def test_each_program(program: str, user: User, session: dict[str, object]) -> None:
    """Each program takes --dry, and its short form -R; `status` shows the session as it does otherwise."""
    for flag in ("--dry", "-R"):
        assert "would stop the server" in assert_success(user.run(program, flag, "stop")).stdout
        assert "running" in assert_success(user.run(program, flag, "status")).stdout
    assert user.only_session() == session
