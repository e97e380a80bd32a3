"""The flags of the programs themselves, which docs/fabric.md lists: each has an effect, has none, or is refused."""

import re
import socket
import sys
from collections.abc import Callable

import pytest
from fabric.main import make_program  # type: ignore[import-untyped, unused-ignore]
from invoke.main import program as invoke_program
from invoke.program import Program

from notebooks_over_ssh.program import program as notebooks_program
from tests.kit.cli import BIN_DIR, ROOT, User, assert_error, assert_success
from tests.kit.ssh_agent import ssh_agent
from tests.kit.sshd import make_key

PROGRAMS: dict[str, Callable[[], Program]] = {
    "fab": make_program,
    "invoke": lambda: invoke_program,
    "notebooks": lambda: notebooks_program,
}


def rows() -> dict[str, tuple[str, ...]]:
    """The long form of each flag in the document, and the programs that have it."""
    text = (ROOT / "docs/fabric.md").read_text("utf-8")
    rows = re.findall(r"^\| (?:`-\w`, )?`(--[\w-]+)` \| ([^|]+) \|", text, re.MULTILINE)
    return {
        flag: tuple(PROGRAMS) if names.strip() == "all" else tuple(names.strip().split(", "))
        for flag, names in rows
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_document_is_complete(program: str) -> None:
    """The document lists every flag of each program, and no other."""
    names = {
        name for argument in PROGRAMS[program]().initial_context.args.values() for name in argument.names
    }
    flags = {f"--{name}" for name in names if len(name) > 1}
    assert flags == {flag for flag, programs in rows().items() if program in programs}


def shows(*arguments: str, expected: str, stdin: str = "") -> Callable[[User, str], None]:
    """The command succeeds, and its output matches `expected`."""

    def check(user: User, program: str) -> None:
        words = [word.format(program=program) for word in arguments]
        result = assert_success(user.run(program, *words, stdin=stdin))
        assert re.search(expected.format(program=program), result.stdout + result.stderr, re.MULTILINE)

    return check


def expect_refusal(*arguments: str, expected: str) -> Callable[[User, str], None]:
    """The command is an error with exit code 2."""
    return lambda user, program: (assert_error(user.run(program, *arguments), 2, expected), None)[1]


# By program, what `--dry up` prints without flags.
_plain_output: dict[str, str] = {}


def no_effect(*flags: str, stdin: str = "") -> Callable[[User, str], None]:
    """The task prints the same with these flags."""

    def check(user: User, program: str) -> None:
        if program not in _plain_output:
            _plain_output[program] = assert_success(user.run(program, "--dry", "up")).stdout
            assert str(user.home) not in _plain_output[program]
        result = assert_success(user.run(program, *flags, "--dry", "up", stdin=stdin))
        assert result.stdout == _plain_output[program]

    return check


# Stops the program before its task, and prints a setting.
SETTING = """
import importlib
import sys
from types import SimpleNamespace

from notebooks_over_ssh.config import settings

path, name, *arguments = sys.argv[1:]
modules = {"fab": "fabric.main", "invoke": "invoke.main", "notebooks": "notebooks_over_ssh.program"}
program = importlib.import_module(modules[name]).program
program.execute = lambda: None
sys.argv = [name, *arguments]
program.run(sys.argv, exit=False)
value = settings.load(SimpleNamespace(config=program.config))
for part in path.split("."):
    value = value[part] if isinstance(value, dict) else getattr(value, part)
print(repr(value))
"""


def sets(*flags: str, path: str, value: object) -> Callable[[User, str], None]:
    """The settings of the task have this value. In a process of its own: Invoke takes the help texts off the tasks."""

    def check(user: User, program: str) -> None:
        command = [sys.executable, "-c", SETTING, path, program, *flags, "status"]
        assert assert_success(user.execute(command)).stdout == f"{value!r}\n"

    return check


def writes_debug_log(user: User, program: str) -> None:
    result = assert_success(user.run(program, "-d", "status"))
    assert "invoke.program" in result.stderr
    assert "task status" in (user.home / ".local/state/notebooks-over-ssh/debug.log").read_text()


def keeps_secret(flag: str) -> Callable[[User, str], None]:
    """The program reads the answer, and prints it nowhere, not even in Invoke's debugging output."""

    def check(user: User, program: str) -> None:
        with user.at_terminal(program, "-d", flag, "--dry", "up") as terminal:
            terminal.expect(r"(Enter [^\n]*|password of the host|passphrase of the key files): ")
            terminal.type("hunter2")
            assert terminal.end() == 0, terminal.output
        assert "dry run" in terminal.output
        assert "hunter2" not in terminal.output

    return check


def runs_twice(user: User, program: str) -> None:
    tasks = ["sandbox.status"] * 2
    once = assert_success(user.run(program, *tasks)).stdout.count("not running")
    assert once == (2 if program == "fab" else 1)
    assert assert_success(user.run(program, "--no-dedupe", *tasks)).stdout.count("not running") == 2


def overrides_variables(user: User, program: str) -> None:
    file = user.home / "mine.yaml"
    file.write_text("notebook: {nice: 12}\n")
    command = [sys.executable, "-c", SETTING, "notebook.nice", program, "-f", str(file), "status"]
    assert assert_success(user.execute(command, INVOKE_NOTEBOOK_NICE="15")).stdout == "12\n"
    assert_error(user.run(program, "-f", "missing.yaml", "status"), 2, "no configuration file missing.yaml")


def loads_other_tasks(*flags: str) -> Callable[[User, str], None]:
    """With these flags the program lists a task from a folder or a file of the user's own, and none of ours."""

    def check(user: User, program: str) -> None:
        for name in ("tasks.py", "fabfile.py", "other.py"):
            (user.home / name).write_text("from invoke import task\n\n@task\ndef theirs(c): pass\n")
        listing = assert_success(user.run(program, "-r", str(user.home), *flags, "--list")).stdout
        assert re.findall(r"^  (\w+)", listing, re.MULTILINE) == ["theirs"]

    return check


def lists_agent_keys(user: User, program: str) -> None:
    key = user.home / "key"
    make_key(key)
    with ssh_agent(user.home, key) as agent:
        result = assert_success(user.run(program, "--list-agent-keys", "up", SSH_AUTH_SOCK=agent))
    assert re.fullmatch(rf"256 \S+ {key} \(ED25519\)\n", result.stdout)


CHECKS: dict[str, Callable[[User, str], None]] = {
    "--dry": shows("--dry", "serve", expected="would start jupyter notebook"),
    "--hosts": shows("-H", "ashbury", "--dry", "serve", expected="would start jupyter notebook on ashbury"),
    "--identity": sets("-i", "/k", "-i", "/l", path="connect_kwargs.key_filename", value=["/k", "/l"]),
    "--connect-timeout": sets("-t", "3", path="timeouts.connect", value=3),
    "--ssh-config": sets("-S", "/dev/null", path="ssh_config_path", value="/dev/null"),
    "--prompt-for-login-password": keeps_secret("--prompt-for-login-password"),
    "--prompt-for-passphrase": keeps_secret("--prompt-for-passphrase"),
    "--config": overrides_variables,
    "--debug": writes_debug_log,
    "--list": shows("--list", expected=r"^  sandbox\.start +Start the sandbox"),
    "--list-depth": shows("--list", "--list-depth", "1", expected=r"sandbox \[3 tasks\]"),
    "--list-format": shows("--list", "--list-format", "json", expected='"default": "up"'),
    "--help": shows("--help", "stop", expected="--force"),
    "--version": shows("--version", expected=r"(?i)^\w+ \d+\.\d+"),
    "--print-completion-script": shows(
        "--print-completion-script", "bash", expected="complete -F _complete_{program}"
    ),
    "--complete": shows("--complete", "--", "{program}", "stop", "--f", expected=r"\A(--\w+\n)*--force\n"),
    "--collection": loads_other_tasks("-c", "other"),
    "--search-root": loads_other_tasks(),
    "--no-dedupe": runs_twice,
    "--list-agent-keys": lists_agent_keys,
    "--command-timeout": expect_refusal("-T", "5", "status", expected="timeouts.command in the command line"),
    "--echo": no_effect("-e"),
    "--hide": no_effect("--hide", "both"),
    "--pty": no_effect("-p"),
    "--warn-only": no_effect("-w"),
    "--prompt-for-sudo-password": no_effect("--prompt-for-sudo-password", stdin="secret\n"),
    "--write-pyc": no_effect("--write-pyc"),
}


@pytest.mark.parametrize("flag", rows())
def test_row(flag: str, idle_user: User) -> None:
    """The flag does what its row says, under each of its programs; the other programs refuse it by name."""
    for program in PROGRAMS:
        if program in rows()[flag]:
            CHECKS[flag](idle_user, program)
        else:
            assert_error(idle_user.run(program, flag, "status"), 2, flag)


def test_flags_of_run(user: User) -> None:
    """Neither the flags for `c.run` nor --write-pyc change what a task does and prints on a host."""
    flags = ["-e", "-p", "-w", "--hide", "both", "--write-pyc"]
    assert_success(user.fab("serve"))
    for program in ("fab", "invoke"):
        plain, flagged = (assert_success(user.run(program, *words, "doctor")) for words in ([], flags))
        assert _without_times(flagged.stdout) == _without_times(plain.stdout)
        assert flagged.stderr == plain.stderr == ""
        assert_success(user.run(program, *flags, "stop", *(["serve"] if program == "fab" else [])))


def _without_times(output: str) -> str:
    return re.sub(r"space .*|\d+\.\d+ s", "", output)


@pytest.mark.parametrize("program", PROGRAMS)
def test_command_for_a_host(program: str, idle_user: User) -> None:
    """A command after a task and `--`, which Fabric would run without a check of the host key, is refused."""
    host = [] if program == "invoke" else ["-H", "ashbury"]
    assert_error(
        idle_user.run(program, *host, "sandbox.status", "--", "ls"), 2, "a command for the host after --"
    )


@pytest.mark.parametrize("task", [[], ["sandbox.status"], ["theirs"]], ids=["no task", "ours", "theirs"])
def test_executor(task: list[str], idle_user: User) -> None:
    """With our executor in ~/.fabric.yaml, `fab` refuses a command for a host and connects nowhere; tasks still run."""
    (idle_user.home / ".fabric.yaml").write_text(
        "tasks: {executor_class: notebooks_over_ssh.executor.Executor}\n"
    )
    root = []
    if task == ["theirs"]:
        (idle_user.home / "fabfile.py").write_text("from fabric import task\n\n@task\ndef theirs(c): pass\n")
        root = ["-r", str(idle_user.home)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        result = idle_user.fab(*root, "-H", host, *task, "--", "ls")
        assert_error(result, 2, "a command for the host after -- is not supported")
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    if task:
        assert_success(idle_user.fab(*root, *task))


@pytest.mark.parametrize("program", PROGRAMS)
def test_unknown_names(program: str, idle_user: User) -> None:
    """Each program suggests the nearest task or flag."""
    for arguments, hint in ((["stopp"], "did you mean stop?"), (["stop", "--forc"], "did you mean --force?")):
        assert_error(idle_user.run(program, *arguments), 2, hint)


@pytest.mark.parametrize("program", PROGRAMS)
def test_completion(program: str, idle_user: User) -> None:
    """Bash completes tasks, flags and the hosts of ~/.ssh/config with the script that the program prints."""
    (idle_user.home / ".ssh").mkdir()
    (idle_user.home / ".ssh/config").write_text("Host eddie *.example\n")
    script = assert_success(idle_user.run(program, "--print-completion-script", "bash")).stdout
    lines = {
        f"{program} sec": "secure",
        f"{program} stop --fo": "--force",
        f"{program} up --host edd": "eddie",
    }
    if program != "invoke":
        lines[f"{program} -H edd"] = "eddie"
    for line, expected in lines.items():
        words = line.split()
        code = (
            f"{script}\nCOMP_WORDS=({line}) COMP_CWORD={len(words) - 1}\n"
            f"_complete_{program} {program} {words[-1]}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
        path = f"{BIN_DIR}:{idle_user.environment()['PATH']}"
        result = assert_success(idle_user.execute(["bash", "--norc", "-c", code], PATH=path))
        assert result.stdout.split() == [expected]
