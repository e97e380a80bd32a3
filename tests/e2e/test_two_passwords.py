"""Two commands set the password at the same time: one sets it, and the other reports that."""

from concurrent.futures import ThreadPoolExecutor

from tests.kit.cli import Result, User, assert_error, assert_success, port_in
from tests.kit.jupyter_client import Browser
from tests.kit.users import PASSWORD

PASSWORDS = (PASSWORD, "the password of the other")
MEANWHILE = "another command set the password or certificate"


def logs_in(user: User, port: int, password: str) -> bool:
    with Browser(port, user.only_record()["certificate_pem"]) as browser:
        return browser.log_in(password)


def test_concurrent_first_ups(fresh_user: User) -> None:
    """Of two concurrent first `up`s with different passwords the one that reports "password set" has set it; the
    other reports that it set none.
    """

    def up(password: str) -> Result:
        return fresh_user.fab("-H", "ashbury", "up", "--detach", "--password-file", "-", stdin=password)

    with ThreadPoolExecutor(2) as both:
        results = dict(zip(PASSWORDS, both.map(up, PASSWORDS), strict=True))
    (setter,) = (password for password, each in results.items() if "password set" in each.stdout)
    (other,) = set(PASSWORDS) - {setter}
    if results[other].returncode:
        assert_error(results[other], 1, MEANWHILE, "secure --renew")
    else:
        assert "another password is already set" in results[other].stderr
    port = port_in(assert_success(results[setter]))
    assert logs_in(fresh_user, port, setter)
    assert not logs_in(fresh_user, port, other)


def test_set_during_the_prompt(fresh_user: User) -> None:
    """When a password is set during another command's prompt, that command says so, and the password stays."""
    with fresh_user.at_terminal("fab", "secure") as terminal:
        terminal.expect("new password")
        assert_success(fresh_user.fab("secure", "--password-file", "-", stdin=PASSWORD))
        config = fresh_user.jupyter_config.read_bytes()
        pem = fresh_user.jupyter_config.parent / "notebooks-over-ssh/server.pem"
        key = pem.read_bytes()
        terminal.type(PASSWORDS[1])
        terminal.expect("confirm the password")
        terminal.type(PASSWORDS[1])
        assert terminal.end() == 1, terminal.output
    assert MEANWHILE in terminal.output and "password set" not in terminal.output
    assert (fresh_user.jupyter_config.read_bytes(), pem.read_bytes()) == (config, key)
