"""Whatever the login shell of an account, and whatever its start-up files do: the same happens."""

import pytest

from tests.accounts.machines import Site
from tests.journey.program import succeeded

SHELLS = ("bash", "zsh", "dash", "tcsh", "fish")
# What a shell might take for something else than a name, and a name in letters of more than one byte.
HOSTILE = 'it\'s a "$HOME" `touch ran` $(touch ran) !! \\ %s; touch ran & ~ * {a,b} ünï 数'


@pytest.mark.parametrize("shell", SHELLS)
def test_login_shell(site: Site, shell: str) -> None:
    """Every step works with each shell, in the very directory that is meant, and runs nothing that its name spells."""
    account = site.account(shell)
    directory = account.home / HOSTILE
    directory.mkdir()
    account.own(directory)
    site.start()
    site.configure(user=account.name, notebook={"host": site.host_place, "directory": f"~/{HOSTILE}"})
    done = succeeded(site.user.fab("secure", "serve", "logs", "--lines", "1", "doctor"))
    print(done.stdout, done.stderr)
    assert f"with {account.shell} as login shell" in done.stdout
    assert "kernel computed 1+1" in done.stdout
    session = site.user.only_session()
    assert (session["server"], session["directory"]) == ("running", str(directory))
    (server,) = [process for process in account.processes() if process.pid == session["pid"]]
    assert server.cwd() == str(directory)
    succeeded(site.user.fab("stop"))
    assert list(account.home.rglob("ran")) == []
    assert list(directory.iterdir()) == []
