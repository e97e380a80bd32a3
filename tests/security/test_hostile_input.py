"""Whatever a setting or a host contains, no unintended program runs, and nothing controls the terminal."""

import json
import os
import shutil
import string
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from notebooks_over_ssh.config.destination import parse_destination
from notebooks_over_ssh.config.schema import Notebook
from notebooks_over_ssh.errors import ConfigError, RemoteError, UserError
from notebooks_over_ssh.jupyter.host_info import HostInfo
from notebooks_over_ssh.jupyter.remote_result import (
    RemoteProblem,
    RemoteScriptError,
    decode,
    to_exception,
    validate_host_name,
)
from notebooks_over_ssh.ssh.confirmation import find_request
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.environment import Environment
from notebooks_over_ssh.ssh.program_input import build_request
from notebooks_over_ssh.ssh.remote import MAX_LOG_LINE_BYTES, MAX_REPLY_BYTES, _lines, parse_reply
from notebooks_over_ssh.terminal import sanitize
from tests.kit.sshd import Network

SHELLS = [shell for shell in ("sh", "dash", "bash", "busybox", "ksh", "mksh", "zsh") if shutil.which(shell)]
LOGIN_SHELLS = [shell for shell in ("tcsh", "fish") if shutil.which(shell)]
TIMEOUT_S = 20
MARKER = "0123456789abcdef"
# The names of the canary programs, and what a shell might make of them.
CANARIES = ("canary", "touch", "rm", "reboot", "sudo", "curl", "nc", "ls")
PIECES = st.sampled_from(
    [
        *"$(){}[]`'\"\\;&|<>*?!#~=%^ \t-./,:@+",
        *[
            "$(canary)",
            "`canary`",
            "; canary ;",
            "&& canary",
            "|| canary",
            "| canary",
            "'; canary; '",
            '"; canary; "',
            "$((canary))",
        ],
        *[
            "${x:=`canary`}",
            "<(canary)",
            ">canary",
            "-exec canary",
            "--",
            "$IFS",
            "%h",
            "é",
            "日本",
            "\u202e",
            "canary",
        ],
    ]
)
HOSTILE = st.lists(st.one_of(PIECES, st.text(string.ascii_letters, max_size=3)), min_size=1, max_size=12).map(
    "".join
)
MANY = hypothesis_settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PURE = hypothesis_settings(MANY, max_examples=300)


@pytest.fixture(scope="module")
def canary_bin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home, and first on PATH programs that record their calls."""
    folder = tmp_path_factory.mktemp("trap")
    for sub in ("home", "bin"):
        (folder / sub).mkdir()
    for canary in CANARIES:
        program = folder / "bin" / canary
        program.write_text(f'#!/bin/sh\necho "{canary} $*" >> {folder}/calls\n')
        program.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def run_in_shell(canary_bin: Path, shell: str, line: str, stdin: bytes) -> bytes:
    """The output of a login shell for the command line; no canary ran, and no file appeared in its home."""
    before = sorted((canary_bin / "home").iterdir())
    words = [shell, "sh"] if shell == "busybox" else [shell]
    result = subprocess.run(
        [*words, "-c", line],
        input=stdin,
        capture_output=True,
        env={"HOME": str(canary_bin / "home"), "PATH": f"{canary_bin}/bin:/usr/bin:/bin"},
        cwd=canary_bin / "home",
        timeout=TIMEOUT_S,
        check=False,
    )
    triggered = canary_bin / "calls"
    assert not triggered.exists(), f"canary ran: {triggered.read_text()}"
    new = [path for path in sorted((canary_bin / "home").iterdir()) if path not in before]
    # The state folder of host_info, and fish's own.
    assert {path.name for path in new} <= {".local", ".config", ".cache"}, new
    return result.stdout


def test_canary_works(canary_bin: Path) -> None:
    """A canary that runs is detected."""
    with pytest.raises(AssertionError, match="canary ran: canary"):
        run_in_shell(canary_bin, "sh", "canary", b"")
    (canary_bin / "calls").unlink()


@MANY
@given(directory=HOSTILE, shell=st.sampled_from([*SHELLS, *LOGIN_SHELLS]))
def test_directory(canary_bin: Path, directory: str, shell: str) -> None:
    """A folder of any name is looked up literally, under every login shell."""
    command, stdin = build_request(MARKER, "host_info", {"directory": directory}, Environment(sys.prefix))
    output = run_in_shell(canary_bin, shell, command, stdin).decode()
    answer = json.loads(output.rpartition(f"\n{MARKER} ")[2].partition("\n")[0])
    assert answer["directory"] == os.path.expanduser(directory) or "~" in directory
    problem = answer["directory_problem"]
    assert problem is None or problem["directory"] == answer["directory"]


@MANY
@given(
    environment=HOSTILE.filter(lambda name: name not in ("", "uv")),
    shell=st.sampled_from([*SHELLS, *LOGIN_SHELLS]),
)
def test_environment(canary_bin: Path, environment: str, shell: str) -> None:
    """An environment of any name is not found, and nothing else happens."""
    command, stdin = build_request(MARKER, "host_info", {"directory": "~"}, Environment(environment))
    output = run_in_shell(canary_bin, shell, command, stdin).decode()
    assert f"\n{MARKER} environment-missing\n" in output


@MANY
@given(directory=HOSTILE, shell=st.sampled_from([*SHELLS, *LOGIN_SHELLS]))
def test_project_directory(canary_bin: Path, directory: str, shell: str) -> None:
    """The project of a folder of any name is looked for, and nothing else happens."""
    environment = Environment("uv", directory=directory)
    command, stdin = build_request(MARKER, "host_info", {"directory": "~"}, environment)
    output = run_in_shell(canary_bin, shell, command, stdin).decode()
    assert f"\n{MARKER} project-" in output or f"\n{MARKER} {{" in output


@MANY
@given(host=HOSTILE, shell=st.sampled_from([*SHELLS, *LOGIN_SHELLS]))
def test_log(canary_bin: Path, host: str, shell: str) -> None:
    """The log of a host of any name is read or missing, and nothing else happens."""
    parameters = {"host": host, "lines": 10, "follow": False}
    command, stdin = build_request(MARKER, "tail_log", parameters, Environment(sys.prefix))
    assert f"\n{MARKER} {{".encode() in run_in_shell(canary_bin, shell, command, stdin)


@PURE
@given(parameters=st.dictionaries(HOSTILE, st.one_of(HOSTILE, st.integers(), st.none()), max_size=4))
def test_command_is_constant(parameters: dict[str, Any]) -> None:
    """The command line for the login shell is the same for all parameters, and contains nothing to expand."""
    command, _ = build_request(MARKER, "host_info", parameters, Environment("mlp"))
    assert command == build_request("x", "host_info", {})[0]
    assert command.isascii()
    assert "\n" not in command


@PURE
@given(host=HOSTILE)
def test_host_names(host: str) -> None:
    """A host or user name either consists of letters, digits, dots and dashes or is refused."""
    try:
        destination = parse_destination(host, "the host")
    except ConfigError:
        return
    allowed = set(string.ascii_letters + string.digits + "._-:")
    assert set(destination.host) <= allowed
    assert not destination.host.startswith("-")
    assert not set(destination.user or "") & set("'`\"$\\;&<>|(){}*?!#~ \t")
    assert not (destination.user or "").startswith("-")


def test_hostile_names(network: Network) -> None:
    """The program refuses hostile names with 2 and runs nothing, wherever they are given."""
    triggered = network.folder / "calls"
    for host in (
        f"-oProxyCommand=touch {triggered}",
        f"$(touch {triggered})",
        f"a;touch {triggered}",
        "-x@host",
    ):
        result = network.user.fab("secure", f"--host={host}")
        assert result.returncode == 2, result.stderr
        assert "Traceback" not in result.stderr
    assert not triggered.exists()
    assert network.gateway.connections() == 0


class _LostConnection:
    """The part of a Connection that parse_reply uses."""

    original_host = label = "ashbury"
    is_connected = True


CONNECTION = cast(Connection, _LostConnection())
CONTROL = st.sampled_from(
    ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\r", "\x00", "\u202e", "\x7f", "\x08", "\u2028"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | CONTROL,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NOISE = st.lists(
    st.one_of(
        st.text(max_size=30),
        CONTROL,
        JSON.map(lambda value: f"\n{MARKER} {json.dumps(value)}\n"),
        JSON.map(lambda value: f"\n{MARKER} {json.dumps({'problem': value, 'found': value})}"),
        st.sampled_from(
            [
                f"\n{MARKER} ",
                f"\n{MARKER} {{",
                f"{MARKER}",
                '\n0000 {"problem": ""}\n',
                "\n",
                f"\n{MARKER} word\nx\n",
            ]
        ),
    ),
    max_size=6,
).map("".join)


def assert_printable(problem: UserError) -> None:
    """The error has a hint, and its output has no control character."""
    assert problem.hint or isinstance(problem, RemoteScriptError)
    for text in (str(problem), problem.hint, *problem.detail):
        assert sanitize(text).isprintable()


@PURE
@given(output=NOISE, host=st.text(max_size=20) | st.none() | st.integers(), may_prompt=st.booleans() | JSON)
def test_confirmation_requests(output: str, host: object, may_prompt: object) -> None:
    """A host that asks for the confirmation is recognized by a valid host name, and its request is not parsed as a
    reply.
    """
    question = json.dumps({"problem": "", "asks": may_prompt, "host": host})
    reply = f"{output}\n{MARKER} {question}\n"
    try:
        request = find_request(bytearray(reply.encode("utf-8", "surrogatepass")), MARKER)
        name = validate_host_name(request.host if request else "")
    except RemoteError as error:
        assert_printable(error)
    else:
        assert "/" not in name and not name.startswith(".")
    with pytest.raises(RemoteError):
        parse_reply(CONNECTION, MARKER, f"\n{MARKER} {question}\n")


@PURE
@given(output=NOISE)
def test_replies(output: str) -> None:
    """Any reply is either a problem with a text, or reported as an error of the host."""
    try:
        answer = parse_reply(CONNECTION, MARKER, output)
    except RemoteError as error:
        assert_printable(error)
        return
    assert isinstance(answer["problem"], str)
    for kind in (RemoteProblem, HostInfo):
        try:
            decode(answer, kind)
        except RemoteError as error:
            assert_printable(error)


@PURE
@given(
    fields=st.dictionaries(
        st.sampled_from([*HostInfo.__struct_fields__, "problem", "alternatives", "log"]), JSON
    )
)
def test_field_types(fields: dict[str, Any]) -> None:
    """A reply with fields of wrong types is reported as an error of the host, not as an internal error."""
    settings = SimpleNamespace(notebook=Notebook())
    for kind in (RemoteProblem, HostInfo):
        try:
            decoded = decode(fields, kind)
        except RemoteError as error:
            assert_printable(error)
            continue
        if isinstance(decoded, RemoteProblem):
            assert_printable(to_exception(decoded, cast(Any, settings), "ashbury"))


@PURE
@given(name=st.one_of(HOSTILE, CONTROL, st.text(max_size=300)))
def test_reported_host_names(name: str) -> None:
    """A host that reports an invalid host name is an error of the host."""
    try:
        assert set(validate_host_name(name)) <= set(string.ascii_letters + string.digits + ".-")
    except RemoteError as error:
        assert_printable(error)


@PURE
@given(text=st.text() | CONTROL)
def test_sanitize(text: str) -> None:
    """Printed text contains no control character, and all that can be read."""
    clean_text = sanitize(text)
    assert clean_text.isprintable()
    assert len(clean_text) == len(text)


@pytest.mark.parametrize(
    "program",
    [
        "head -c 10485760 /dev/zero | tr '\\\\0' 'x'",
        "head -c 3000000 /dev/urandom",
        "printf '\\\\033[2J\\\\033]0;owned\\\\007\\\\r\\\\n'",
        "printf '\\\\n%s {\\\"problem\\\": 7}\\\\n' $(head -c 1000 | tr -dc a-f0-9)",
        "kill -9 $$",
        "yes",
        "true",
    ],
    ids=["10 MB", "random", "control characters", "fake marker", "killed", "no end", "nothing"],
)
def test_hostile_host(network: Network, program: str) -> None:
    """After an invalid reply of any size, it exits with 6 and prints the reply without control characters."""
    script = network.folder / "login"
    script.write_text(f"#!/bin/sh\n{program}\n".replace("\\\\", "\\").replace('\\"', '"'))
    script.chmod(0o755)
    network.host.stop()
    network.host.start(f"ForceCommand {script}", network.environment())
    result = network.user.fab("secure")
    output = result.stdout + result.stderr
    assert result.returncode == 6, f"{result.returncode}: {output[:3000]}"
    assert "Traceback" not in output
    assert "internal error" not in output
    assert all(character.isprintable() or character == "\n" for character in output)
    assert "\nerror: " in f"\n{result.stderr}"
    assert "\nhint: " in result.stderr
    assert len(output) < 100_000, f"{len(output)} characters are shown"


@pytest.mark.parametrize(
    "answer",
    [
        r'{"problem": "", "reason": "\ud800"}',
        r'{"problem": "", "\udfff": 1}',
        '{"problem": "", "found": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"problem": "", "found": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}",
        '{"problem": "", "reason": "' + "x" * MAX_REPLY_BYTES + '"}',
        '{"problem": NaN}',
        '{"problem": ""',
    ],
    ids=["half a character", "in a name", "deep lists", "deep objects", "too long", "no JSON", "cut"],
)
def test_malformed_replies(answer: str) -> None:
    """A reply that is no valid JSON is one error of the host, of bounded length."""
    with pytest.raises(RemoteError, match="sent no valid reply") as raised:
        parse_reply(CONNECTION, MARKER, f"\n{MARKER} {answer}\n")
    assert_printable(raised.value)
    assert sum(map(len, raised.value.detail)) < 10_000


def test_long_replies() -> None:
    """The message shows a readable part of a reply of any length."""
    lines = "\n".join(f"{number}{'x' * 2000}" for number in range(1000))
    answer = parse_reply(CONNECTION, MARKER, f"\n{MARKER} environment-missing\n{lines}\n")
    texts = dict.fromkeys(("problem", "reason", "path", "directory", "code"), "y" * 100_000)
    settings = SimpleNamespace(notebook=Notebook())
    for fields in (answer, texts | {"log": ["z" * 100_000] * 1000}):
        problem = to_exception(decode(fields, RemoteProblem), cast(Any, settings), "ashbury")
        assert len(str(problem)) + sum(map(len, problem.detail)) < 15_000


def test_endless_log_line() -> None:
    """Of an endless line in a log only the beginning is kept, and the next line is complete."""
    blocks = [b"first\nx"] + [b"x" * 65536] * 500 + [b"\nlast"]

    class EndlessFile:
        def recv(self, size: int) -> bytes:
            return blocks.pop(0) if blocks else b""

    tracemalloc.start()
    try:
        lines = list(_lines(cast(Any, EndlessFile())))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [lines[0], lines[2]] == ["first", "last"]
    assert set(lines[1][:MAX_LOG_LINE_BYTES]) == {"x"} and len(lines[1]) < MAX_LOG_LINE_BYTES + 10
    assert peak < 20 * MAX_LOG_LINE_BYTES
