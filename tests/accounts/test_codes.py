"""Accounts that want a code that is good only once, alone and after another proof (AuthenticationMethods)."""

import hashlib
import hmac
import secrets
from pathlib import Path

import pytest

from tests.accounts.machines import PASSWORD, Account, Site
from tests.accounts.test_passwords import answer, at_terminal, who
from tests.journey.program import Terminal, refused
from tests.openssh.network import Server

# sshd tells what was proved before: there is something once the first of two proofs was good.
IS_SECOND = '#!/bin/sh\n[ -n "$SSH_AUTH_INFO_0" ]\n'


class Codes:
    """What the person's own device shows: a new code a time (RFC 4226)."""

    def __init__(self) -> None:
        self.secret = secrets.token_bytes(20)
        self.counter = 0

    def next(self) -> str:
        """The next code."""
        digest = hmac.digest(self.secret, self.counter.to_bytes(8, "big"), hashlib.sha1)
        self.counter += 1
        offset = digest[-1] & 15
        return f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"


@pytest.fixture
def codes() -> Codes:
    """A device of this test."""
    if not any(Path(top).glob("**/security/pam_oath.so") for top in ("/lib", "/usr/lib", "/usr/lib64")):
        pytest.skip("needs the PAM module pam_oath (libpam-oath)")
    return Codes()


def wanting(site: Site, codes: Codes, methods: str, *stack: str) -> Account:
    """An account for which the gateway wants the methods, and of PAM the lines of the stack; the host wants a key."""
    account = site.account()
    users = site.folder / "users.oath"
    users.write_text(f"HOTP {account.name} - {codes.secret.hex()}\n")
    users.chmod(0o600)
    is_second = site.folder / "is_second"
    is_second.write_text(IS_SECOND)
    is_second.chmod(0o755)
    site.at_gateway.stack = [line.format(users=users, is_second=is_second) for line in stack]
    site.options["gateway"] = (
        f"AuthenticationMethods {methods}",
        "PasswordAuthentication yes",
        "KbdInteractiveAuthentication yes",
    )
    site.start()
    site.configure(user=account.name)
    return account


CODE = "auth requisite pam_oath.so usersfile={users} window=10 digits=6"


def answer_code(terminal: Terminal, account: Account, hop: Server, code: str) -> None:
    """Wait for the prompt for a code, which names account and hop, and answer it."""
    terminal.expect(
        rf"{who(account, hop)} \| One-time password.*\s+your answer goes to {who(account, hop)}: "
    )
    terminal.type(code)


def test_code(site: Site, codes: Codes) -> None:
    """A code is asked for by account and hop; another one when it is wrong."""
    account = wanting(site, codes, "keyboard-interactive", CODE)
    with at_terminal(site, "secure") as terminal:
        answer_code(terminal, account, site.gateway, "000000")
        answer_code(terminal, account, site.gateway, codes.next())
        assert terminal.end() == 0, terminal.said
    assert terminal.said.count("One-time password") == 2


def test_wrong_codes(site: Site, codes: Codes) -> None:
    """After three wrong codes it is 4, with what the hop wanted."""
    account = wanting(site, codes, "keyboard-interactive", CODE)
    with at_terminal(site, "secure") as terminal:
        for _ in range(3):
            answer_code(terminal, account, site.gateway, "000000")
        assert terminal.end() == 4, terminal.said
    assert "it wants keyboard-interactive" in terminal.said
    assert terminal.said.count("One-time password") == 3


def test_password_and_code_at_once(site: Site, codes: Codes) -> None:
    """One conversation may ask for the password and a code; a wrong code asks for both, and makes no try of itself."""
    account = wanting(site, codes, "keyboard-interactive", PASSWORD, CODE)
    with at_terminal(site, "secure") as terminal:
        answer(terminal, account, site.gateway, account.password)
        answer_code(terminal, account, site.gateway, "000000")
        answer(terminal, account, site.gateway, account.password)
        answer_code(terminal, account, site.gateway, codes.next())
        assert terminal.end() == 0, terminal.said


def test_key_then_code(site: Site, codes: Codes) -> None:
    """`publickey,keyboard-interactive`: the key is offered, then the code is asked for."""
    account = wanting(site, codes, "publickey,keyboard-interactive", CODE)
    with at_terminal(site, "secure") as terminal:
        answer_code(terminal, account, site.gateway, codes.next())
        assert terminal.end() == 0, terminal.said
    assert (
        "Accepted key" in site.gateway.log.read_text() or "Partial publickey" in site.gateway.log.read_text()
    )


def test_password_then_code(site: Site, codes: Codes) -> None:
    """`password,keyboard-interactive`: the password is asked for, then the code."""
    account = wanting(
        site,
        codes,
        "password,keyboard-interactive",
        "auth [success=2 default=ignore] pam_exec.so quiet {is_second}",
        PASSWORD.replace("required", "requisite"),
        "auth [success=1 default=ignore] pam_permit.so",
        CODE,
    )
    with at_terminal(site, "secure") as terminal:
        answer(terminal, account, site.gateway, account.password)
        answer_code(terminal, account, site.gateway, codes.next())
        assert terminal.end() == 0, terminal.said
    assert terminal.said.count("password:") == 1
    assert "Partial password for" in site.gateway.log.read_text()


def test_code_for_the_tunnel(site: Site, codes: Codes) -> None:
    """A code is good only once: the tunnel in the background, another login, asks for one of its own."""
    account = wanting(site, codes, "publickey,keyboard-interactive", CODE)
    with at_terminal(site, "up", "--detach") as terminal:
        answer_code(terminal, account, site.gateway, codes.next())
        answer_code(terminal, account, site.gateway, codes.next())
        terminal.expect(r"https://localhost:\d+/")
        assert terminal.end() == 0, terminal.said
    with site.user.at_terminal("fab", "stop") as terminal:
        answer_code(terminal, account, site.gateway, codes.next())
        assert terminal.end() == 0, terminal.said


def test_without_terminal(site: Site, codes: Codes) -> None:
    """Where nobody can be asked for a code it is 4, and none is tried."""
    account = wanting(site, codes, "publickey,keyboard-interactive", CODE)
    refused(site.user.fab("secure"), 4, f"{who(account, site.gateway)} needs a password or a code")
    assert "Failed keyboard-interactive" not in site.gateway.log.read_text()
    assert site.host.connections() == 0
