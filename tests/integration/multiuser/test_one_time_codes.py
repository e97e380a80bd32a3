"""Accounts that require a one-time code, alone or after another method (AuthenticationMethods)."""

from pathlib import Path

import pytest

from tests.kit.accounts import Account
from tests.kit.cli import Terminal, assert_error, assert_success
from tests.kit.pam_login import CODE, Codes, account_label, account_with_codes, answer_prompt, fab_at_terminal
from tests.kit.pam_sshd import PASSWORD_RULE, PamNetwork
from tests.kit.sshd import Server


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


def answer_code(terminal: Terminal, account: Account, hop: Server, code: str) -> None:
    """Wait for the prompt for a code, which names account and hop, and answer it."""
    terminal.expect(
        rf"{account_label(account, hop)} \| One-time password.*\s+your answer goes to {account_label(account, hop)}: "
    )
    terminal.type(code)


def test_code(pam_network: PamNetwork, codes: Codes) -> None:
    """The prompt for a code names account and hop; after a wrong code it appears again."""
    account = account_with_codes(pam_network, codes, "keyboard-interactive", CODE)
    with fab_at_terminal(pam_network, "secure") as terminal:
        answer_code(terminal, account, pam_network.gateway, "000000")
        answer_code(terminal, account, pam_network.gateway, codes.next())
        assert terminal.end() == 0, terminal.output
    assert terminal.output.count("One-time password") == 2


def test_wrong_codes(pam_network: PamNetwork, codes: Codes) -> None:
    """Three wrong codes exit with 4, and the methods that the hop accepts."""
    account = account_with_codes(pam_network, codes, "keyboard-interactive", CODE)
    with fab_at_terminal(pam_network, "secure") as terminal:
        for _ in range(3):
            answer_code(terminal, account, pam_network.gateway, "000000")
        assert terminal.end() == 4, terminal.output
    assert "it accepts keyboard-interactive" in terminal.output
    assert terminal.output.count("One-time password") == 3


def test_password_and_code_in_one_conversation(pam_network: PamNetwork, codes: Codes) -> None:
    """One conversation may ask for the password and a code; after a wrong code both are asked for again, with no
    automatic attempt.
    """
    account = account_with_codes(pam_network, codes, "keyboard-interactive", PASSWORD_RULE, CODE)
    with fab_at_terminal(pam_network, "secure") as terminal:
        answer_prompt(terminal, account, pam_network.gateway, account.password)
        answer_code(terminal, account, pam_network.gateway, "000000")
        answer_prompt(terminal, account, pam_network.gateway, account.password)
        answer_code(terminal, account, pam_network.gateway, codes.next())
        assert terminal.end() == 0, terminal.output


def test_key_then_code(pam_network: PamNetwork, codes: Codes) -> None:
    """`publickey,keyboard-interactive`: the key is used, then the code is asked for."""
    account = account_with_codes(pam_network, codes, "publickey,keyboard-interactive", CODE)
    with fab_at_terminal(pam_network, "secure") as terminal:
        answer_code(terminal, account, pam_network.gateway, codes.next())
        assert terminal.end() == 0, terminal.output
    assert (
        "Accepted key" in pam_network.gateway.log.read_text()
        or "Partial publickey" in pam_network.gateway.log.read_text()
    )


def test_password_then_code(pam_network: PamNetwork, codes: Codes) -> None:
    """`password,keyboard-interactive`: it prompts for the password, then for the code."""
    account = account_with_codes(
        pam_network,
        codes,
        "password,keyboard-interactive",
        "auth [success=2 default=ignore] pam_exec.so quiet {is_second}",
        PASSWORD_RULE.replace("required", "requisite"),
        "auth [success=1 default=ignore] pam_permit.so",
        CODE,
    )
    with fab_at_terminal(pam_network, "secure") as terminal:
        answer_prompt(terminal, account, pam_network.gateway, account.password)
        answer_code(terminal, account, pam_network.gateway, codes.next())
        assert terminal.end() == 0, terminal.output
    assert terminal.output.count("password:") == 1
    assert "Partial password for" in pam_network.gateway.log.read_text()


def test_code_for_the_tunnel(pam_network: PamNetwork, codes: Codes) -> None:
    """A background tunnel asks for one code, and every later command uses its login."""
    account = account_with_codes(pam_network, codes, "publickey,keyboard-interactive", CODE)
    with fab_at_terminal(pam_network, "up", "--detach") as terminal:
        answer_code(terminal, account, pam_network.gateway, codes.next())
        terminal.expect(r"https://localhost:\d+/")
        assert terminal.end() == 0, terminal.output
    assert_success(pam_network.user.fab("stop"))


def test_without_terminal(pam_network: PamNetwork, codes: Codes) -> None:
    """Without a terminal a required code exits with 4, and none is sent."""
    account = account_with_codes(pam_network, codes, "publickey,keyboard-interactive", CODE)
    assert_error(
        pam_network.user.fab("secure"),
        4,
        f"{account_label(account, pam_network.gateway)} requires a password or one-time code",
    )
    assert "Failed keyboard-interactive" not in pam_network.gateway.log.read_text()
    assert pam_network.host.connections() == 0
