"""What a message shows of a reply, and which host names are ones."""

import pytest

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.jupyter.remote_result import (
    MAX_LOG_LINES,
    MAX_NAMES,
    MAX_TEXT_LENGTH,
    RemoteProblem,
    decode,
    validate_host_name,
)

TEXTS = ("problem", "reason", "path", "directory", "code")


def test_truncated() -> None:
    """Every text and list of a reply is cut to what a message shows: the end of a log, the beginning of the rest."""
    many = [f"{number}{'z' * 1000}" for number in range(100)]
    fields = {**dict.fromkeys(TEXTS, "y" * 1000), "log": many, "alternatives": many}
    short = decode(fields, RemoteProblem).truncated()
    assert {len(getattr(short, name)) for name in TEXTS} == {MAX_TEXT_LENGTH}
    assert {len(text) for text in (*short.log, *short.alternatives[:-1])} == {MAX_TEXT_LENGTH}
    assert [line.rstrip("z") for line in short.log] == [str(n) for n in range(100 - MAX_LOG_LINES, 100)]
    assert [name.rstrip("z") for name in short.alternatives[:-1]] == [str(n) for n in range(MAX_NAMES)]
    assert short.alternatives[-1] == f"{100 - MAX_NAMES} more"


def test_short_reply() -> None:
    """A reply that is short enough is shown as it is."""
    reply = RemoteProblem(problem="x", alternatives=tuple(map(str, range(MAX_NAMES))), log=("a", "b"))
    assert reply.truncated() == reply


@pytest.mark.parametrize("name", ["a", "7", "ashbury", "a-b.example.org", "a" * 253])
def test_host_names(name: str) -> None:
    """A name of letters, digits, dots and dashes is a host name."""
    assert validate_host_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "-a", "a-", "a.", ".a", "/", "/a", "a/b", "../a", "a b", "a\n", "a_b", "ä", "a" * 254],
)
def test_no_host_names(name: str) -> None:
    """A name that could leave a folder, look like an option or break a line is refused."""
    with pytest.raises(RemoteError, match="invalid host name"):
        validate_host_name(name)
