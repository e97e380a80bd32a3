"""Whatever a setting or a host says, nothing runs that is not meant, and nothing steers the terminal."""

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

from notebooks_over_ssh.config.destination import parse_place
from notebooks_over_ssh.diagnostics import Host
from notebooks_over_ssh.errors import BadSetting, Problem, RemoteFailed
from notebooks_over_ssh.jupyter.remote_result import (
    Obstacle,
    Obstructed,
    checked,
    checked_host_name,
    explained,
)
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.remote import (
    ANSWER_LIMIT,
    LOG_LINE_LIMIT,
    _find_answer,
    _host_that_asks,
    _lines,
    request,
)
from notebooks_over_ssh.terminal import printable
from tests.openssh.network import Network

SHELLS = [shell for shell in ("sh", "dash", "bash", "busybox", "ksh", "mksh", "zsh") if shutil.which(shell)]
LOGIN_SHELLS = [shell for shell in ("tcsh", "fish") if shutil.which(shell)]
TIMEOUT_S = 20
MARKER = "0123456789abcdef"
# What the shells of the world take for more than a letter, and the programs that lie in wait.
BAITS = ("bait", "touch", "rm", "reboot", "sudo", "curl", "nc", "ls")
PIECES = st.sampled_from(
    [
        *"$(){}[]`'\"\\;&|<>*?!#~=%^ \t-./,:@+",
        *[
            "$(bait)",
            "`bait`",
            "; bait ;",
            "&& bait",
            "|| bait",
            "| bait",
            "'; bait; '",
            '"; bait; "',
            "$((bait))",
        ],
        *[
            "${x:=`bait`}",
            "<(bait)",
            ">bait",
            "-exec bait",
            "--",
            "$IFS",
            "%h",
            "é",
            "日本",
            "\u202e",
            "bait",
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
def trap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home, and before everything else on PATH programs that write down that they were called."""
    folder = tmp_path_factory.mktemp("trap")
    for sub in ("home", "bin"):
        (folder / sub).mkdir()
    for bait in BAITS:
        program = folder / "bin" / bait
        program.write_text(f'#!/bin/sh\necho "{bait} $*" >> {folder}/sprung\n')
        program.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def run_in(trap: Path, shell: str, line: str, stdin: bytes) -> bytes:
    """What a login shell prints that is given the line; no bait was taken, and no file made in its home."""
    before = sorted((trap / "home").iterdir())
    words = [shell, "sh"] if shell == "busybox" else [shell]
    done = subprocess.run(
        [*words, "-c", line],
        input=stdin,
        capture_output=True,
        env={"HOME": str(trap / "home"), "PATH": f"{trap}/bin:/usr/bin:/bin"},
        cwd=trap / "home",
        timeout=TIMEOUT_S,
        check=False,
    )
    sprung = trap / "sprung"
    assert not sprung.exists(), f"it ran {sprung.read_text()}"
    new = [path for path in sorted((trap / "home").iterdir()) if path not in before]
    # The state folder of examine_host, and what fish makes for itself.
    assert {path.name for path in new} <= {".local", ".config", ".cache"}, new
    return done.stdout


def test_the_trap_works(trap: Path) -> None:
    """The proof of the proofs: a bait that is taken is seen."""
    with pytest.raises(AssertionError, match="it ran bait"):
        run_in(trap, "sh", "bait", b"")
    (trap / "sprung").unlink()


@MANY
@given(directory=HOSTILE, shell=st.sampled_from([*SHELLS, *LOGIN_SHELLS]))
def test_directory(trap: Path, directory: str, shell: str) -> None:
    """A folder of any name is looked for as it is written, under every login shell."""
    command, stdin = request(
        MARKER, "host_info", {"directory": directory}, environment=sys.prefix, activate=""
    )
    said = run_in(trap, shell, command, stdin).decode()
    answer = json.loads(said.rpartition(f"\n{MARKER} ")[2].partition("\n")[0])
    assert answer["directory"] == os.path.expanduser(directory) or "~" in directory
    obstacle = answer["directory_obstacle"]
    assert obstacle is None or obstacle["directory"] == answer["directory"]


@MANY
@given(environment=HOSTILE.filter(bool), shell=st.sampled_from([*SHELLS, *LOGIN_SHELLS]))
def test_environment(trap: Path, environment: str, shell: str) -> None:
    """An environment of any name is not found, and that is all."""
    command, stdin = request(MARKER, "host_info", {"directory": "~"}, environment=environment, activate="")
    said = run_in(trap, shell, command, stdin).decode()
    assert f"\n{MARKER} environment-missing\n" in said


@MANY
@given(log=HOSTILE, shell=st.sampled_from([*SHELLS, *LOGIN_SHELLS]))
def test_log(trap: Path, log: str, shell: str) -> None:
    """A log of any path is read, or missing, and that is all."""
    parameters = {"log": log, "lines": 10, "follow": False}
    command, stdin = request(MARKER, "tail_log", parameters, environment=sys.prefix, activate="")
    assert f"\n{MARKER} {{".encode() in run_in(trap, shell, command, stdin)


@PURE
@given(parameters=st.dictionaries(HOSTILE, st.one_of(HOSTILE, st.integers(), st.none()), max_size=4))
def test_the_command_says_nothing(parameters: dict[str, Any]) -> None:
    """What the login shell is given is the same for all parameters, and has nothing in it for a shell to expand."""
    command, _ = request(MARKER, "host_info", parameters, environment="mlp", activate="")
    assert command == request("x", "host_info", {}, environment="", activate="")[0]
    assert command.isascii()
    assert "\n" not in command


@PURE
@given(host=HOSTILE)
def test_host_names(host: str) -> None:
    """A name of a host or a user is either letters, digits, dots and dashes or refused."""
    try:
        place = parse_place(host, "the host")
    except BadSetting:
        return
    allowed = set(string.ascii_letters + string.digits + "._-:")
    assert set(place.host) <= allowed
    assert not place.host.startswith("-")
    assert not set(place.user or "") & set("'`\"$\\;&<>|(){}*?!#~ \t")
    assert not (place.user or "").startswith("-")


def test_dangerous_names_at_the_program(network: Network) -> None:
    """The program refuses them with 2 and runs nothing, wherever they stand."""
    sprung = network.folder / "sprung"
    for host in (f"-oProxyCommand=touch {sprung}", f"$(touch {sprung})", f"a;touch {sprung}", "-x@host"):
        done = network.user.fab("secure", f"--host={host}")
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
    assert not sprung.exists()
    assert network.gateway.connections() == 0


class _Gone:
    """What _find_answer asks of a Connection."""

    original_host = label = "ashbury"
    is_connected = True


CONNECTION = cast(Connection, _Gone())
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


def no_steering(problem: Problem) -> None:
    """It says what to do, and whatever is shown of it has no control character."""
    assert problem.hint or isinstance(problem, Obstructed)
    for text in (str(problem), problem.hint, *problem.detail):
        assert printable(text).isprintable()


@PURE
@given(output=NOISE, host=st.text(max_size=20) | st.none() | st.integers(), asks=st.booleans() | JSON)
def test_questions(output: str, host: object, asks: object) -> None:
    """A host that asks for the word to go on is known by a name that is one, and what it asked is no answer."""
    question = json.dumps({"problem": "", "asks": asks, "host": host})
    said = f"{output}\n{MARKER} {question}\n"
    try:
        name = checked_host_name(_host_that_asks(bytearray(said.encode("utf-8", "surrogatepass")), MARKER))
    except RemoteFailed as problem:
        no_steering(problem)
    else:
        assert "/" not in name and not name.startswith(".")
    with pytest.raises(RemoteFailed):
        _find_answer(CONNECTION, MARKER, f"\n{MARKER} {question}\n")


@PURE
@given(output=NOISE)
def test_answers(output: str) -> None:
    """Any answer is either one with a problem that is a text, or told as a failure of the host."""
    try:
        answer = _find_answer(CONNECTION, MARKER, output)
    except RemoteFailed as problem:
        no_steering(problem)
        return
    assert isinstance(answer["problem"], str)
    for kind in (Obstacle, Host):
        try:
            checked(answer, kind)
        except RemoteFailed as problem:
            no_steering(problem)


@PURE
@given(fields=st.dictionaries(st.sampled_from([*Host.__struct_fields__, "problem", "found", "log"]), JSON))
def test_fields(fields: dict[str, Any]) -> None:
    """Fields of other kinds than those meant are told as a failure of the host, never an error of ours."""
    settings = SimpleNamespace(notebook=SimpleNamespace(environment="mlp", activate="", application="lab"))
    for kind in (Obstacle, Host):
        try:
            made = checked(fields, kind)
        except RemoteFailed as problem:
            no_steering(problem)
            continue
        if isinstance(made, Obstacle):
            no_steering(explained(made, cast(Any, settings), "ashbury"))


@PURE
@given(name=st.one_of(HOSTILE, CONTROL, st.text(max_size=300)))
def test_names_of_hosts(name: str) -> None:
    """A host that calls itself anything but a name is told as a failure of the host."""
    try:
        assert set(checked_host_name(name)) <= set(string.ascii_letters + string.digits + ".-")
    except RemoteFailed as problem:
        no_steering(problem)


@PURE
@given(text=st.text() | CONTROL)
def test_printable(text: str) -> None:
    """Of what is shown, nothing steers a terminal, and nothing that can be read is lost."""
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) == len(text)


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
    """A host that answers nonsense, of any size, is told as 6 with what it printed, and steers no terminal."""
    script = network.folder / "login"
    script.write_text(f"#!/bin/sh\n{program}\n".replace("\\\\", "\\").replace('\\"', '"'))
    script.chmod(0o755)
    network.host.stop()
    network.host.start(f"ForceCommand {script}", network.environment())
    done = network.user.fab("secure")
    shown = done.stdout + done.stderr
    assert done.returncode == 6, f"{done.returncode}: {shown[:3000]}"
    assert "Traceback" not in shown
    assert "internal error" not in shown
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert "\nerror: " in f"\n{done.stderr}"
    assert "\nhint: " in done.stderr
    assert len(shown) < 100_000, f"{len(shown)} characters are shown"


@pytest.mark.parametrize(
    "answer",
    [
        r'{"problem": "", "reason": "\ud800"}',
        r'{"problem": "", "\udfff": 1}',
        '{"problem": "", "found": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"problem": "", "found": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}",
        '{"problem": "", "reason": "' + "x" * ANSWER_LIMIT + '"}',
        '{"problem": NaN}',
        '{"problem": ""',
    ],
    ids=["half a character", "in a name", "deep lists", "deep objects", "too long", "no JSON", "cut"],
)
def test_malformed_answers(answer: str) -> None:
    """What is no JSON for us is one failure of the host, of bounded length."""
    with pytest.raises(RemoteFailed, match="gave no answer that makes sense") as raised:
        _find_answer(CONNECTION, MARKER, f"\n{MARKER} {answer}\n")
    no_steering(raised.value)
    assert sum(map(len, raised.value.detail)) < 10_000


def test_long_answers() -> None:
    """Of an answer of any length a message shows a part that can be read."""
    found = "\n".join(f"{number}{'x' * 2000}" for number in range(1000))
    answer = _find_answer(CONNECTION, MARKER, f"\n{MARKER} environment-missing\n{found}\n")
    texts = dict.fromkeys(("problem", "reason", "path", "directory", "code"), "y" * 100_000)
    settings = SimpleNamespace(notebook=SimpleNamespace(environment="mlp", activate="", application="lab"))
    for fields in (answer, texts | {"log": ["z" * 100_000] * 1000}):
        problem = explained(checked(fields, Obstacle), cast(Any, settings), "ashbury")
        assert len(str(problem)) + sum(map(len, problem.detail)) < 15_000


def test_lines_without_an_end() -> None:
    """Of a line of a log that never ends only the beginning is kept, and the next line comes whole."""
    blocks = [b"first\nx"] + [b"x" * 65536] * 500 + [b"\nlast"]

    class Endless:
        def recv(self, size: int) -> bytes:
            return blocks.pop(0) if blocks else b""

    tracemalloc.start()
    try:
        lines = list(_lines(cast(Any, Endless())))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [lines[0], lines[2]] == ["first", "last"]
    assert set(lines[1][:LOG_LINE_LIMIT]) == {"x"} and len(lines[1]) < LOG_LINE_LIMIT + 10
    assert peak < 20 * LOG_LINE_LIMIT
