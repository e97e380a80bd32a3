"""Two commands that set the password at the same time: one sets it, and the other is told."""

from concurrent.futures import ThreadPoolExecutor

from tests.journey.browser import Browser
from tests.journey.conftest import PASSWORD
from tests.journey.program import Done, User, port_in, refused, succeeded

PASSWORDS = (PASSWORD, "the password of the other")
MEANWHILE = "another command set the password or certificate"


def logs_in(user: User, port: int, password: str) -> bool:
    with Browser(port, user.certificate_pem(user.only_session()["host"])) as browser:
        return browser.log_in(password)


def test_first_ups_at_once(newcomer: User) -> None:
    """Of two first `up`s at once with different passwords the one that says "password set" is right; the other says that
    it set none.
    """

    def up(password: str) -> Done:
        return newcomer.fab("-H", "ashbury", "up", "--detach", "--password-file", "-", stdin=password)

    with ThreadPoolExecutor(2) as both:
        done = dict(zip(PASSWORDS, both.map(up, PASSWORDS), strict=True))
    (setter,) = (password for password, each in done.items() if "password set" in each.stdout)
    (other,) = set(PASSWORDS) - {setter}
    if done[other].returncode:
        refused(done[other], 1, MEANWHILE, "secure --renew")
    else:
        assert "the password is already set" in done[other].stderr
    port = port_in(succeeded(done[setter]))
    assert logs_in(newcomer, port, setter)
    assert not logs_in(newcomer, port, other)


def test_set_while_another_asks(newcomer: User) -> None:
    """Whoever is asked for a password while another command sets one is told so, and what that one set stays."""
    with newcomer.at_terminal("fab", "secure") as terminal:
        terminal.expect("choose a password")
        succeeded(newcomer.fab("secure", "--password-file", "-", stdin=PASSWORD))
        config = newcomer.jupyter_config.read_bytes()
        pem = newcomer.jupyter_config.parent / "notebooks-over-ssh/server.pem"
        key = pem.read_bytes()
        terminal.type(PASSWORDS[1])
        terminal.expect("once more")
        terminal.type(PASSWORDS[1])
        assert terminal.end() == 1, terminal.said
    assert MEANWHILE in terminal.said and "password set" not in terminal.said
    assert (newcomer.jupyter_config.read_bytes(), pem.read_bytes()) == (config, key)
