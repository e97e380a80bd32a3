"""Logins at a terminal that PAM decides on, with passwords and one-time codes."""

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.accounts import Account
from tests.kit.cli import Terminal
from tests.kit.pam_sshd import PASSWORD_RULE, PamNetwork
from tests.kit.sshd import Server

WRONG = "a wrong guess"
CODE = "auth requisite pam_oath.so usersfile={users} window=10 digits=8"
# sshd sets SSH_AUTH_INFO_0 once a first method succeeded.
IS_SECOND = '#!/bin/sh\n[ -n "$SSH_AUTH_INFO_0" ]\n'


def start(pam_network: PamNetwork, account: Account, method: str) -> None:
    """Start both hops with this authentication method, and settings that lead to the account."""
    for name in ("gateway", "host"):
        pam_network.options[name] = _require(method)
    pam_network.start()
    pam_network.configure(user=account.name, connect_kwargs={})


@contextmanager
def fab_at_terminal(pam_network: PamNetwork, *words: str) -> Iterator[Terminal]:
    """`fab` at a terminal, with a password file for the server, so that only logins prompt."""
    with pam_network.user.at_terminal(
        "fab", *words, "--password-file", pam_network.password_file()
    ) as terminal:
        yield terminal


def account_label(account: Account, hop: Server) -> str:
    """The account and the hop, as messages name them."""
    return f"{account.name}@{hop.address}:{hop.port}"


def answer_prompt(terminal: Terminal, account: Account, hop: Server, password: str) -> None:
    """Wait for the prompt that names account and hop, and answer it."""
    terminal.expect(f"{account_label(account, hop)} password: ")
    terminal.type(password)


class Codes:
    """An HOTP device: a new code each time (RFC 4226)."""

    def __init__(self) -> None:
        self.secret = secrets.token_bytes(20)
        self.counter = 0
        self.used: list[str] = []
        """The codes so far."""

    def next(self) -> str:
        """The next code."""
        digest = hmac.digest(self.secret, self.counter.to_bytes(8, "big"), hashlib.sha1)
        self.counter += 1
        offset = digest[-1] & 15
        code = f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF) % 10**8:08}"
        self.used.append(code)
        return code


@pytest.fixture
def codes() -> Codes:
    """The device of this test."""
    if not any(Path(top).glob("**/security/pam_oath.so") for top in ("/lib", "/usr/lib", "/usr/lib64")):
        pytest.skip("needs the PAM module pam_oath (libpam-oath)")
    return Codes()


def account_with_codes(pam_network: PamNetwork, codes: Codes, methods: str, *stack: str) -> Account:
    """An account for which the gateway requires the methods, with these lines of PAM; the host requires a key."""
    account = pam_network.account()
    users = pam_network.folder / "users.oath"
    users.write_text(f"HOTP {account.name} - {codes.secret.hex()}\n")
    users.chmod(0o600)
    is_second = pam_network.folder / "is_second"
    is_second.write_text(IS_SECOND)
    is_second.chmod(0o755)
    pam_network.gateway_machine.pam_stack = [line.format(users=users, is_second=is_second) for line in stack]
    pam_network.options["gateway"] = _require(methods)
    pam_network.start()
    pam_network.configure(user=account.name)
    return account


class TwoFactorHops:
    """An account for which both hops require its password, then a code of a device for that hop."""

    def __init__(self, pam_network: PamNetwork, *extra_addresses: str) -> None:
        """The host has the extra addresses too."""
        pam_network.extra_addresses += extra_addresses
        self.account = pam_network.account()
        self.network = pam_network
        self.codes = {"gateway": Codes(), "host": Codes()}
        machines = {"gateway": pam_network.gateway_machine, "host": pam_network.host_machine}
        for name, machine in machines.items():
            users = pam_network.folder / f"{name}.oath"
            users.write_text(f"HOTP {self.account.name} - {self.codes[name].secret.hex()}\n")
            users.chmod(0o600)
            machine.pam_stack = [PASSWORD_RULE, CODE.format(users=users)]
            pam_network.options[name] = _require("keyboard-interactive")
        pam_network.start()
        pam_network.configure(user=self.account.name, connect_kwargs={})

    @property
    def secrets(self) -> list[str]:
        """The account's password, and the codes so far."""
        return [self.account.password, *self.codes["gateway"].used, *self.codes["host"].used]

    def answer(self, terminal: Terminal) -> None:
        """Answer the four prompts of a login on both hops."""
        for name, hop in (("gateway", self.network.gateway), ("host", self.network.host)):
            self.answer_hop(terminal, name, hop.address)

    def answer_hop(self, terminal: Terminal, name: str, address: str) -> None:
        """Answer the two prompts of a login on one hop, at this address."""
        port = {"gateway": self.network.gateway, "host": self.network.host}[name].port
        label = f"{self.account.name}@{address}:{port}"
        terminal.expect(f"{label} password: ")
        terminal.type(self.account.password)
        terminal.expect(f"your answer goes to {label}: ")
        terminal.type(self.codes[name].next())


def _require(methods: str) -> tuple[str, ...]:
    """The options of an sshd that requires these authentication methods."""
    return (
        f"AuthenticationMethods {methods}",
        "PasswordAuthentication yes",
        "KbdInteractiveAuthentication yes",
    )
