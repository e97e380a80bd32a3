"""Accounts that log in with a password: who is asked, how often, and where the answer goes."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.accounts.machines import Account, Site
from tests.journey.program import Terminal, refused, succeeded
from tests.openssh.network import LOOPBACK, Server, wait_until

AGENT_TIMEOUT_S = 10.0
WRONG = "a wrong guess"
METHODS = ("password", "keyboard-interactive")
OTHER_NAME = "127.0.0.3"


def wanting(site: Site, method: str) -> Account:
    """An account for which both hops want the method, each with a password of its own; they are running."""
    account = site.account()
    site.at_host.passwords[account.name] = f"another {account.password}"
    start(site, account, method)
    return account


def start(site: Site, account: Account, method: str) -> None:
    """Start both hops, which want the method, with settings that lead to the account."""
    for name in ("gateway", "host"):
        site.options[name] = (
            f"AuthenticationMethods {method}",
            "PasswordAuthentication yes",
            "KbdInteractiveAuthentication yes",
        )
    site.start()
    site.configure(user=account.name, connect_kwargs={})


def passwords(site: Site, account: Account) -> tuple[str, str]:
    """The account's password at the gateway, and at the host."""
    return site.at_gateway.passwords[account.name], site.at_host.passwords[account.name]


def failures(server: Server) -> int:
    """How often sshd says that a proof was wrong."""
    return server.log.read_text().count("Failed password for") + server.log.read_text().count(
        "Failed keyboard-interactive/pam for"
    )


@contextmanager
def at_terminal(site: Site, *words: str) -> Iterator[Terminal]:
    """`fab` at a terminal, with a task that protects the server with a password that need not be asked for."""
    with site.user.at_terminal("fab", *words, "--password-file", site.password_file()) as terminal:
        yield terminal


def who(account: Account, hop: Server) -> str:
    """The account and the hop, as messages name them."""
    return f"{account.name}@{hop.address}:{hop.port}"


def answer(terminal: Terminal, account: Account, hop: Server, password: str) -> None:
    """Wait for the prompt that names account and hop, and answer it."""
    terminal.expect(f"{who(account, hop)} password: ")
    terminal.type(password)


@pytest.mark.parametrize("method", METHODS)
def test_two_hops(site: Site, method: str) -> None:
    """Each hop's password is asked for once, by account and hop, and told to that hop alone."""
    account = wanting(site, method)
    gateway, host = passwords(site, account)
    with at_terminal(site, "secure") as terminal:
        answer(terminal, account, site.gateway, gateway)
        answer(terminal, account, site.host, host)
        assert terminal.end() == 0, terminal.said
    assert terminal.said.count("password:") == 2
    assert gateway not in terminal.said and host not in terminal.said
    assert (site.at_gateway.told(), site.at_host.told()) == ([gateway], [host])


@pytest.mark.parametrize("method", METHODS)
def test_wrong_password(site: Site, method: str) -> None:
    """A wrong password is asked for again, three times at most; then it is 4, with what was wanted and tried."""
    account = wanting(site, method)
    with at_terminal(site, "secure") as terminal:
        for _ in range(3):
            answer(terminal, account, site.gateway, WRONG)
        assert terminal.end() == 4, terminal.said
    assert (
        f"{who(account, site.gateway)} refused the login; it wants {method}, tried: {method}" in terminal.said
    )
    assert "hint: " in terminal.said and "Traceback" not in terminal.said
    assert terminal.said.count("password:") == 3
    assert site.at_gateway.told() == [WRONG] * 3
    assert failures(site.gateway) == 3
    assert site.host.connections() == 0


@pytest.mark.parametrize("method", METHODS)
def test_second_try(site: Site, method: str) -> None:
    """After a wrong password the right one is good, and a hop gets no try that nobody made."""
    account = wanting(site, method)
    gateway, host = passwords(site, account)
    with at_terminal(site, "secure") as terminal:
        answer(terminal, account, site.gateway, WRONG)
        answer(terminal, account, site.gateway, gateway)
        answer(terminal, account, site.host, WRONG)
        answer(terminal, account, site.host, host)
        assert terminal.end() == 0, terminal.said
    assert (site.at_gateway.told(), site.at_host.told()) == ([WRONG, gateway], [WRONG, host])


def test_ctrl_c_at_the_prompt(site: Site) -> None:
    """Ctrl-C instead of an answer ends the task with a word of its own line, without a try."""
    account = wanting(site, "password")
    with at_terminal(site, "secure") as terminal:
        terminal.expect(f"{who(account, site.gateway)} password: ")
        terminal.interrupt()
        terminal.expect(r"\n(\r\033\[K)*interrupted\r\n$")
        assert terminal.end() == 130
    assert "Traceback" not in terminal.said
    assert site.at_gateway.told() == []


@pytest.mark.parametrize("method", METHODS)
def test_without_terminal(site: Site, method: str) -> None:
    """Where nobody can be asked it is 4, and no hop is told a password that was made up."""
    account = wanting(site, method)
    refused(site.user.fab("secure"), 4, f"{who(account, site.gateway)} needs a password", "no terminal")
    assert site.at_gateway.told() == []
    assert failures(site.gateway) == 0


def test_password_for_next_hop(site: Site) -> None:
    """With ssh.password_for_next_hop one prompt is enough, where the password is the same."""
    account = site.account()
    start(site, account, "password")
    site.configure(
        user=account.name,
        connect_kwargs={},
        ssh={"password_for_next_hop": True},
        notebook={"host": site.host_place},
    )
    with at_terminal(site, "secure") as terminal:
        answer(terminal, account, site.gateway, account.password)
        assert terminal.end() == 0, terminal.said
    assert terminal.said.count("password:") == 1
    assert (site.at_gateway.told(), site.at_host.told()) == ([account.password], [account.password])


def test_password_that_is_not_the_next_hop_s(site: Site) -> None:
    """With password_for_next_hop and another password there, it is offered once and then asked for."""
    account = wanting(site, "password")
    gateway, host = passwords(site, account)
    site.configure(
        user=account.name,
        connect_kwargs={},
        ssh={"password_for_next_hop": True},
        notebook={"host": site.host_place},
    )
    with at_terminal(site, "secure") as terminal:
        answer(terminal, account, site.gateway, gateway)
        answer(terminal, account, site.host, host)
        assert terminal.end() == 0, terminal.said
    assert site.at_host.told() == [gateway, host]


def test_password_of_somebody_else(site: Site) -> None:
    """With password_for_next_hop a password is not offered to another account's login."""
    other = site.account()
    account = wanting(site, "password")
    gateway = f"{other.name}@{site.gateway_place}"
    site.configure(
        user=account.name,
        gateway=gateway,
        connect_kwargs={},
        ssh={"password_for_next_hop": True},
        notebook={"host": site.host_place},
    )
    host = passwords(site, account)[1]
    with at_terminal(site, "secure") as terminal:
        answer(terminal, other, site.gateway, other.password)
        answer(terminal, account, site.host, host)
        assert terminal.end() == 0, terminal.said
    assert (site.at_gateway.told(), site.at_host.told()) == ([other.password], [host])


def test_two_ports_of_one_address(site: Site) -> None:
    """Two hops that differ by their port alone are two: a password for the first is not told to the second."""
    account = site.account()
    site.at_host.passwords[account.name] = host = f"another {account.password}"
    site.host_address = LOOPBACK
    start(site, account, "password")
    with at_terminal(site, "secure") as terminal:
        answer(terminal, account, site.gateway, account.password)
        answer(terminal, account, site.host, host)
        assert terminal.end() == 0, terminal.said
    assert (site.at_gateway.told(), site.at_host.told()) == ([account.password], [host])


def test_tunnel_in_the_background(site: Site) -> None:
    """`up --detach` asks for each password once: the tunnel gets them through a pipe, and nobody sees them."""
    account = wanting(site, "password")
    gateway, host = passwords(site, account)
    with at_terminal(site, "up", "--detach") as terminal:
        answer(terminal, account, site.gateway, gateway)
        answer(terminal, account, site.host, host)
        terminal.expect(r"https://localhost:\d+/")
        assert terminal.end() == 0, terminal.said
    assert terminal.said.count("password:") == 2
    assert (site.at_gateway.told(), site.at_host.told()) == ([gateway] * 2, [host] * 2)

    running = site.processes(site.home) + account.processes()
    assert running
    for process in running:
        seen = " ".join([*process.cmdline(), *process.environ().values()])
        assert account.password not in seen
    files = [path for home in (site.home, account.home) for path in home.rglob("*") if path.is_file()]
    assert not [path for path in files if account.password.encode() in path.read_bytes()]

    with site.user.at_terminal("fab", "stop") as terminal:
        answer(terminal, account, site.gateway, gateway)
        answer(terminal, account, site.host, host)
        assert terminal.end() == 0, terminal.said
    assert failures(site.gateway) == failures(site.host) == 0


def test_tunnel_to_a_member_of_a_pool(site: Site) -> None:
    """Where the machine has another name than the pool, its password is the pool's and is not asked for again."""
    account = site.account()
    site.at_host.own_name = OTHER_NAME
    site.also_listens.append(OTHER_NAME)
    start(site, account, "password")
    with at_terminal(site, "up", "--detach") as terminal:
        answer(terminal, account, site.gateway, account.password)
        answer(terminal, account, site.host, account.password)
        found = terminal.expect(r"password: |https://localhost:\d+/")
        assert found[0] != "password: ", terminal.said
        assert terminal.end() == 0, terminal.said


@contextmanager
def agent(site: Site) -> Iterator[str]:
    """An ssh-agent that has the client's key; gives its socket."""
    path = site.folder / "agent"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(path)], env=site.user.environment(), stdout=subprocess.DEVNULL
    )
    try:
        wait_until(path.exists, AGENT_TIMEOUT_S, "ssh-agent listens")
        added = site.run("ssh-add", "-q", str(site.key), SSH_AUTH_SOCK=str(path))
        assert added.returncode == 0, added.stderr
        yield str(path)
    finally:
        process.terminate()
        process.wait(AGENT_TIMEOUT_S)


def test_agent(site: Site) -> None:
    """With a key in the agent nothing is asked, though passwords would do as well."""
    account = site.account()
    start(site, account, "publickey password")
    with agent(site) as socket:
        Path(site.key).unlink()
        succeeded(site.user.fab("secure", SSH_AUTH_SOCK=socket))
    assert site.at_gateway.told() == site.at_host.told() == []
    assert (site.gateway.logins(), site.host.logins()) == (1, 1)
