"""Two-factor logins with a menu, such as Duo's: keyboard-interactive prompts of several lines, and a slow reply."""

import asyncio
import getpass
from collections.abc import Callable
from typing import Any

import pytest

from notebooks_over_ssh.ssh import userauth
from tests.kit.mitm_sshd import AsyncioThread, KeyboardInteractiveServer, MitmRecord, mitm_server
from tests.kit.prompter import ScriptedPrompter
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK, known_hosts_line, make_key
from tests.kit.wait import TIMEOUT_S

MENU = """\
Two-factor login for alice

Enter a passcode or select one of the following options:

 1. Push to XXX-XXX-1234
 2. Phone call to XXX-XXX-1234
 3. SMS passcodes to XXX-XXX-1234 (next code starts with: 7)
"""
PROMPT = "Passcode or option (1-3): "
SMS = "New SMS passcodes sent.\n\n"
NOTICE = "has not replied yet"


class TwoFactorServer(KeyboardInteractiveServer):
    """Has a menu: 1 is refused, 2 is accepted once `is_confirmed` is true, 3 sends codes, and 7000000 is one."""

    def __init__(self, record: MitmRecord, is_confirmed: Callable[[], bool]) -> None:
        super().__init__(record)
        self._is_confirmed = is_confirmed

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return "", MENU, "", [(PROMPT, True)]

    async def validate_kbdint_response(self, username: str, responses: Any) -> Any:
        self.record.auth_attempts += responses
        if responses[0] == "3":
            return "", SMS + MENU, "", [(PROMPT, True)]
        async with asyncio.timeout(TIMEOUT_S):
            while responses[0] == "2" and not self._is_confirmed():
                await asyncio.sleep(0.01)
        return responses[0] in ("2", "7000000")


@pytest.mark.parametrize(
    "answers",
    [("2",), ("3", "7000000"), ("1", "2"), ("7111111", "3", "7000000")],
    ids=lambda answers: answers[0],
)
def test_menu(
    client: Client, loop: AsyncioThread, monkeypatch: pytest.MonkeyPatch, answers: tuple[str, ...]
) -> None:
    """The whole menu is shown at each round, each answer is sent once, and a slow reply is waited for and announced."""
    monkeypatch.setattr(userauth, "WAITING_NOTICE_AFTER_S", 0.1)
    prompter = ScriptedPrompter(*answers)

    def is_confirmed() -> bool:
        return any(NOTICE in line for line in prompter.banner_lines)

    key = client.folder / "two_factor_key"
    make_key(key)
    with mitm_server(loop, key, server_factory=lambda record: TwoFactorServer(record, is_confirmed)) as (
        port,
        record,
    ):
        client.write_known_hosts(known_hosts_line(port, key.with_suffix(".pub").read_text().strip()))
        with client.connected(f"{LOOPBACK}:{port}", prompter):
            pass
    assert record.auth_attempts == list(answers)
    account = f"{getpass.getuser()}@{LOOPBACK}:{port}"
    for prompt in prompter.prompts:
        lines = prompt.splitlines()
        assert all(line.startswith(f"{account} | ") for line in lines[:-1])
        assert lines[-1] == f"your answer goes to {account}:"
        words = " ".join(line.removeprefix(f"{account} | ") for line in lines[:-1]).split()
        assert " ".join(MENU.split()) in " ".join(words)
