"""Logins at a terminal that PAM decides on."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.kit.accounts import Account
from tests.kit.cli import Terminal
from tests.kit.pam_sshd import PamNetwork
from tests.kit.sshd import Server

WRONG = "a wrong guess"


def start(pam_network: PamNetwork, account: Account, method: str) -> None:
    """Start both hops with this authentication method, and settings that lead to the account."""
    for name in ("gateway", "host"):
        pam_network.options[name] = (
            f"AuthenticationMethods {method}",
            "PasswordAuthentication yes",
            "KbdInteractiveAuthentication yes",
        )
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
