"""Commands work the same with every login shell, whatever its start-up files do."""

import pytest

from tests.kit.cli import assert_success
from tests.kit.pam_sshd import PamNetwork

SHELLS = ("bash", "zsh", "dash", "tcsh", "fish")
# Characters that a shell could interpret, and letters of more than one byte.
HOSTILE = 'it\'s a "$HOME" `touch ran` $(touch ran) !! \\ %s; touch ran & ~ * {a,b} ünï 数'


@pytest.mark.parametrize("shell", SHELLS)
def test_login_shell(pam_network: PamNetwork, shell: str) -> None:
    """Every command works with each shell, in exactly the configured directory, and its name is not evaluated."""
    account = pam_network.account(shell)
    directory = account.home / HOSTILE
    directory.mkdir()
    account.own(directory)
    pam_network.start()
    pam_network.configure(
        user=account.name, notebook={"host": pam_network.host_destination, "directory": f"~/{HOSTILE}"}
    )
    result = assert_success(pam_network.user.fab("secure", "serve", "logs", "--lines", "1", "doctor"))
    print(result.stdout, result.stderr)
    assert f"with {account.shell} as login shell" in result.stdout
    assert "kernel computed 1+1" in result.stdout
    session = pam_network.user.only_session()
    assert (session["server"], session["directory"]) == ("running", str(directory))
    (server,) = [process for process in account.processes() if process.pid == session["pid"]]
    assert server.cwd() == str(directory)
    assert_success(pam_network.user.fab("stop"))
    assert list(account.home.rglob("ran")) == []
    assert list(directory.iterdir()) == []
