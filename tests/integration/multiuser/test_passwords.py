"""Accounts that log in with a password: which prompts appear, how often, and which hop gets the answer."""

from pathlib import Path

import pytest

from tests.kit.accounts import Account
from tests.kit.cli import assert_error, assert_success
from tests.kit.pam_login import WRONG, account_label, answer_prompt, fab_at_terminal, start
from tests.kit.pam_sshd import PamNetwork
from tests.kit.ssh_agent import ssh_agent
from tests.kit.sshd import LOOPBACK, Server

METHODS = ("password", "keyboard-interactive")
OTHER_NAME = "127.0.0.3"


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


def account_requiring(pam_network: PamNetwork, method: str) -> Account:
    """An account whose two hops, both running, require the method, each with its own password."""
    account = pam_network.account()
    pam_network.host_machine.passwords[account.name] = f"another {account.password}"
    start(pam_network, account, method)
    return account


def passwords(pam_network: PamNetwork, account: Account) -> tuple[str, str]:
    """The account's password on the gateway, and on the host."""
    return pam_network.gateway_machine.passwords[account.name], pam_network.host_machine.passwords[
        account.name
    ]


def failures(server: Server) -> int:
    """The number of failed attempts in sshd's log."""
    return server.log.read_text().count("Failed password for") + server.log.read_text().count(
        "Failed keyboard-interactive/pam for"
    )


@pytest.mark.parametrize("method", METHODS)
def test_two_hops(pam_network: PamNetwork, method: str) -> None:
    """It prompts once for each hop's password, by account and hop, and sends it to that hop only."""
    account = account_requiring(pam_network, method)
    gateway, host = passwords(pam_network, account)
    with fab_at_terminal(pam_network, "secure") as terminal:
        answer_prompt(terminal, account, pam_network.gateway, gateway)
        answer_prompt(terminal, account, pam_network.host, host)
        assert terminal.end() == 0, terminal.output
    assert terminal.output.count("password:") == 2
    assert gateway not in terminal.output and host not in terminal.output
    assert pam_network.received_passwords() == ([gateway], [host])


@pytest.mark.parametrize("method", METHODS)
def test_prompted_at_the_start(pam_network: PamNetwork, method: str) -> None:
    """The answer at --prompt-for-login-password goes to the host only; the gateway's password is prompted for."""
    account = account_requiring(pam_network, method)
    gateway, host = passwords(pam_network, account)
    with fab_at_terminal(pam_network, "--prompt-for-login-password", "secure") as terminal:
        terminal.expect("Enter login password")
        terminal.type(host)
        answer_prompt(terminal, account, pam_network.gateway, gateway)
        assert terminal.end() == 0, terminal.output
    assert terminal.output.count(" password: ") == 1
    assert gateway not in terminal.output and host not in terminal.output
    assert pam_network.received_passwords() == ([gateway], [host])


def test_wrong_at_the_start(pam_network: PamNetwork) -> None:
    """A wrong answer at --prompt-for-login-password is sent once; then fab prompts for the password of the host."""
    account = account_requiring(pam_network, "password")
    gateway, host = passwords(pam_network, account)
    with fab_at_terminal(pam_network, "--prompt-for-login-password", "secure") as terminal:
        terminal.expect("Enter login password")
        terminal.type(WRONG)
        answer_prompt(terminal, account, pam_network.gateway, gateway)
        answer_prompt(terminal, account, pam_network.host, host)
        assert terminal.end() == 0, terminal.output
    assert pam_network.received_passwords() == ([gateway], [WRONG, host])


@pytest.mark.parametrize("method", METHODS)
def test_wrong_password(pam_network: PamNetwork, method: str) -> None:
    """fab prompts three times at most; then it exits with 4, and lists the accepted methods and the attempts."""
    account = account_requiring(pam_network, method)
    with fab_at_terminal(pam_network, "secure") as terminal:
        for _ in range(3):
            answer_prompt(terminal, account, pam_network.gateway, WRONG)
        assert terminal.end() == 4, terminal.output
    assert (
        f"{account_label(account, pam_network.gateway)} refused the login (it accepts {method}); tried: {method}"
        in terminal.output
    )
    assert "hint: " in terminal.output and "Traceback" not in terminal.output
    assert terminal.output.count("password:") == 3
    assert pam_network.gateway_machine.received_passwords() == [WRONG] * 3
    assert failures(pam_network.gateway) == 3
    assert pam_network.host.connections() == 0


@pytest.mark.parametrize("method", METHODS)
def test_second_try(pam_network: PamNetwork, method: str) -> None:
    """After a wrong password the right one works, and there is no automatic attempt."""
    account = account_requiring(pam_network, method)
    gateway, host = passwords(pam_network, account)
    with fab_at_terminal(pam_network, "secure") as terminal:
        answer_prompt(terminal, account, pam_network.gateway, WRONG)
        answer_prompt(terminal, account, pam_network.gateway, gateway)
        answer_prompt(terminal, account, pam_network.host, WRONG)
        answer_prompt(terminal, account, pam_network.host, host)
        assert terminal.end() == 0, terminal.output
    assert pam_network.received_passwords() == ([WRONG, gateway], [WRONG, host])


def test_ctrl_c_at_the_prompt(pam_network: PamNetwork) -> None:
    """Ctrl-C at the prompt ends the task with one word on its own line, without an attempt."""
    account = account_requiring(pam_network, "password")
    with fab_at_terminal(pam_network, "secure") as terminal:
        terminal.expect(f"{account_label(account, pam_network.gateway)} password: ")
        terminal.interrupt()
        terminal.expect(r"(\n|\033\[K)interrupted\r\n$")
        assert terminal.end() == 130
    assert "Traceback" not in terminal.output
    assert pam_network.gateway_machine.received_passwords() == []


@pytest.mark.parametrize("method", METHODS)
def test_without_terminal(pam_network: PamNetwork, method: str) -> None:
    """Without a terminal it exits with 4, and no password is sent."""
    account = account_requiring(pam_network, method)
    assert_error(
        pam_network.user.fab("secure"),
        4,
        f"{account_label(account, pam_network.gateway)} requires a password",
        "no terminal",
    )
    assert pam_network.gateway_machine.received_passwords() == []
    assert failures(pam_network.gateway) == 0


def test_password_for_next_hop(pam_network: PamNetwork) -> None:
    """With ssh.password_for_next_hop one prompt is enough if both passwords are the same."""
    account = pam_network.account()
    start(pam_network, account, "password")
    pam_network.configure(
        user=account.name,
        connect_kwargs={},
        ssh={"password_for_next_hop": True},
        notebook={"host": pam_network.host_destination},
    )
    with fab_at_terminal(pam_network, "secure") as terminal:
        answer_prompt(terminal, account, pam_network.gateway, account.password)
        assert terminal.end() == 0, terminal.output
    assert terminal.output.count("password:") == 1
    assert pam_network.received_passwords() == ([account.password], [account.password])


def test_different_password_on_next_hop(pam_network: PamNetwork) -> None:
    """With password_for_next_hop, a password that the next hop refuses is offered once, then its own is asked for."""
    account = account_requiring(pam_network, "password")
    gateway, host = passwords(pam_network, account)
    pam_network.configure(
        user=account.name,
        connect_kwargs={},
        ssh={"password_for_next_hop": True},
        notebook={"host": pam_network.host_destination},
    )
    with fab_at_terminal(pam_network, "secure") as terminal:
        answer_prompt(terminal, account, pam_network.gateway, gateway)
        answer_prompt(terminal, account, pam_network.host, host)
        assert terminal.end() == 0, terminal.output
    assert pam_network.host_machine.received_passwords() == [gateway, host]


def test_password_of_another_account(pam_network: PamNetwork) -> None:
    """With password_for_next_hop a password is not offered to another account's login."""
    other = pam_network.account()
    account = account_requiring(pam_network, "password")
    gateway = f"{other.name}@{pam_network.gateway_destination}"
    pam_network.configure(
        user=account.name,
        gateway=gateway,
        connect_kwargs={},
        ssh={"password_for_next_hop": True},
        notebook={"host": pam_network.host_destination},
    )
    host = passwords(pam_network, account)[1]
    with fab_at_terminal(pam_network, "secure") as terminal:
        answer_prompt(terminal, other, pam_network.gateway, other.password)
        answer_prompt(terminal, account, pam_network.host, host)
        assert terminal.end() == 0, terminal.output
    assert pam_network.received_passwords() == ([other.password], [host])


def test_two_ports_of_one_address(pam_network: PamNetwork) -> None:
    """Two hops that differ only by their port are two: the first one's password is not sent to the second."""
    account = pam_network.account()
    pam_network.host_machine.passwords[account.name] = host = f"another {account.password}"
    pam_network.host_address = LOOPBACK
    start(pam_network, account, "password")
    with fab_at_terminal(pam_network, "secure") as terminal:
        answer_prompt(terminal, account, pam_network.gateway, account.password)
        answer_prompt(terminal, account, pam_network.host, host)
        assert terminal.end() == 0, terminal.output
    assert pam_network.received_passwords() == ([account.password], [host])


def test_tunnel_in_the_background(pam_network: PamNetwork) -> None:
    """`up --detach` asks for each password once, and no other user can read them; `stop` needs none."""
    account = account_requiring(pam_network, "password")
    gateway, host = passwords(pam_network, account)
    with fab_at_terminal(pam_network, "up", "--detach") as terminal:
        answer_prompt(terminal, account, pam_network.gateway, gateway)
        answer_prompt(terminal, account, pam_network.host, host)
        terminal.expect(r"https://localhost:\d+/")
        assert terminal.end() == 0, terminal.output
    assert terminal.output.count("password:") == 2
    assert pam_network.received_passwords() == ([gateway], [host])

    running = pam_network.processes(pam_network.home) + account.processes()
    assert running
    for process in running:
        exposed = " ".join([*process.cmdline(), *process.environ().values()])
        assert account.password not in exposed
    files = [path for home in (pam_network.home, account.home) for path in home.rglob("*") if path.is_file()]
    assert not [path for path in files if account.password.encode() in path.read_bytes()]

    assert_success(pam_network.user.fab("stop"))
    assert failures(pam_network.gateway) == failures(pam_network.host) == 0


def test_tunnel_to_a_pool_member(pam_network: PamNetwork) -> None:
    """A pool member with another host name uses the pool's password, which is not asked for again."""
    account = pam_network.account()
    pam_network.host_machine.hostname = OTHER_NAME
    pam_network.extra_addresses.append(OTHER_NAME)
    start(pam_network, account, "password")
    with fab_at_terminal(pam_network, "up", "--detach") as terminal:
        answer_prompt(terminal, account, pam_network.gateway, account.password)
        answer_prompt(terminal, account, pam_network.host, account.password)
        match = terminal.expect(r"password: |https://localhost:\d+/")
        assert match[0] != "password: ", terminal.output
        assert terminal.end() == 0, terminal.output


def test_agent(pam_network: PamNetwork) -> None:
    """With a key in the agent no prompt appears, although passwords are accepted too."""
    account = pam_network.account()
    start(pam_network, account, "publickey password")
    with ssh_agent(pam_network.folder, pam_network.key) as socket:
        Path(pam_network.key).unlink()
        assert_success(pam_network.user.fab("secure", SSH_AUTH_SOCK=socket))
    assert pam_network.received_passwords() == ([], [])
    assert (pam_network.gateway.logins(), pam_network.host.logins()) == (1, 1)
