"""The reply of a program on the host, among everything else that the host prints."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import notebooks_over_ssh
from notebooks_over_ssh.errors import ConnectError, RemoteError
from notebooks_over_ssh.ssh.confirmation import find_request
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.queries import QUERIES
from notebooks_over_ssh.ssh.remote import MAX_LINE_LENGTH, MAX_LOG_LINE_BYTES, _lines, parse_reply

MARKER = "0123456789abcdef"
CONNECTION = cast(Connection, SimpleNamespace(original_host="ashbury", is_connected=True))
QUESTION = f'\n{MARKER} {{"problem": "", "asks": true, "host": "ashbury"}}\n'
ANSWER = f'\n{MARKER} {{"problem": "", "pid": 7}}\n'


@pytest.mark.parametrize(
    "output",
    [ANSWER, f"Welcome!\n{ANSWER}goodbye\n", QUESTION + ANSWER, f'\n{MARKER} {{"problem": "died"}}\n' + ANSWER],
)  # fmt: skip
def test_last_reply(output: str) -> None:
    """The last reply counts: the ones before it were a request for confirmation, or were replaced."""
    assert parse_reply(CONNECTION, MARKER, output) == {"problem": "", "pid": 7}


@pytest.mark.parametrize(
    "output",
    [
        "",
        ANSWER.replace(MARKER, "f" * 16),
        ANSWER.lstrip("\n"),
        QUESTION,
        f'\n{MARKER} {{"pid": 7}}\n',
        f'\n{MARKER} {{"problem": 7}}\n',
        f'\n{MARKER} {{"problem": null}}\n',
        f'\n{MARKER} {{"problem": "", "x": "\\ud800"}}\n',
        f'\n{MARKER} {{"problem": "", "x": {"[" * 50_000}\n',
    ],
)
def test_no_reply(output: str) -> None:
    """Anything else is an error of the host, or of the connection if that was lost."""
    with pytest.raises(RemoteError, match="ashbury sent no valid reply"):
        parse_reply(CONNECTION, MARKER, output)
    disconnected = cast(
        Connection,
        SimpleNamespace(original_host="ashbury", is_connected=False, gateway=None, transport=None),
    )
    with pytest.raises(ConnectError, match="connection to ashbury was lost"):
        parse_reply(disconnected, MARKER, output)


def test_names_of_queries() -> None:
    """Each program that may be run again exists."""
    scripts = Path(notebooks_over_ssh.__file__).parent / "remote_scripts"
    assert QUERIES.issubset(path.stem for path in scripts.glob("*.py"))


def test_alternatives() -> None:
    """The shell's reply is a word, what it is about, the alternatives in the lines after it, each once, and a log."""
    output = f"\n{MARKER} environment-missing a name\nmlp\nbase\n\nmlp\n\tlog 2\n\tlog 1\nand no end"
    expected = {
        "problem": "environment-missing",
        "reason": "a name",
        "alternatives": ["base", "mlp"],
        "log": ["log 2", "log 1"],
    }
    assert parse_reply(CONNECTION, MARKER, output) == expected


def test_what_the_host_printed() -> None:
    """Without a reply, the last lines of the output are shown, each cut."""
    output = "".join(f"{number}{'x' * 1000}\n" for number in range(100))
    with pytest.raises(RemoteError) as raised:
        parse_reply(CONNECTION, MARKER, output)
    assert [line.rstrip("x") for line in raised.value.detail] == [str(number) for number in range(90, 100)]
    assert {len(line) for line in raised.value.detail} == {MAX_LINE_LENGTH}


@pytest.mark.parametrize(
    ("output", "host"),
    [
        (QUESTION, "ashbury"),
        (f"Welcome!\n{QUESTION}", "ashbury"),
        (QUESTION.rstrip("\n"), ""),
        (QUESTION.replace(MARKER, "f" * 16), ""),
        (QUESTION.replace("true", "false"), ""),
        (QUESTION.replace("true", "1"), ""),
        (QUESTION.replace('"ashbury"', "5"), ""),
        (QUESTION.replace('"ashbury"', "[" * 50_000), ""),
        (f"\n{MARKER} {{\n{QUESTION}", "ashbury"),
        (ANSWER, ""),
        ("", ""),
    ],
)
def test_request_for_confirmation(output: str, host: str) -> None:
    """A program waits for a confirmation only if it says so in one complete line, with the name of its host."""
    request = find_request(bytearray(output.encode()), MARKER)
    assert (request.host if request else "") == host


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_lines(size: int) -> None:
    """Lines come as they were, however the network cut them; one that is too long is cut, and says so."""
    long = b"x" * (MAX_LOG_LINE_BYTES + 1)
    data = b"first\n\n" + long[:-1] + b"\n" + long + b"\nlast \xff"
    blocks = iter([data[start : start + size] for start in range(0, len(data), size)] + [b""])
    channel: Any = SimpleNamespace(recv=lambda maximum: next(blocks))
    assert list(_lines(channel)) == [
        *("first", "", long[:-1].decode(), f"{long[:-1].decode()} […]", "last \ufffd"),
    ]  # fmt: skip
