"""A program on the host is sent with all that it imports, and with no more than it needs."""

import json
import sys
import zlib
from base64 import b64decode
from pathlib import Path
from types import ModuleType

import pytest

import notebooks_over_ssh
from notebooks_over_ssh.ssh.program_input import build_request

PROGRAMS = sorted(
    path.stem for path in (Path(notebooks_over_ssh.__file__).parent / "remote_scripts").glob("*.py")
)
MARKER = "0" * 32
# RFC 6928: the first segments that TCP sends without waiting for a reply, on Ethernet and without IP options.
INITIAL_WINDOW_BYTES = 10 * 1460


def modules(name: str) -> list[tuple[str, str]]:
    """The name and source of each module that is sent to run a program."""
    _, stdin = build_request(MARKER, name, {})
    request = json.loads(stdin.splitlines()[-1])
    return [(name, source) for name, source in json.loads(zlib.decompress(b64decode(request["modules"])))]


@pytest.mark.parametrize("program", PROGRAMS)
def test_imports(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every module is sent once, after those that it imports, and the program is the last."""
    names = [name for name, _ in modules(program)]
    assert len(set(names)) == len(names)
    assert names[-1] == program
    for name in PROGRAMS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name, source in modules(program):
        module = ModuleType(name)
        exec(compile(source, f"{name}.py", "exec"), module.__dict__)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("program", ["server_status", "tail_log", "stop_server", "watch_server", "relay"])
def test_size(program: str) -> None:
    """A program that a user waits for often is sent within the initial window of TCP."""
    command, stdin = build_request(MARKER, program, {})
    assert len(command) + len(stdin) < INITIAL_WINDOW_BYTES - 1000
