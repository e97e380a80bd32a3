"""Commands in messages, as the user has to type them: the way the running one was typed."""

import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

PROGRAMS = ("fab", "invoke", "inv", "notebooks")
# Options before the task that take a value: fabric/main.py and invoke/program.py, `core_args`.
_HOST_OPTIONS = ("-H", "--hosts")
_KEPT_OPTIONS = (
    *("-f", "--config", "-c", "--collection", "-r", "--search-root"),
    *("-i", "--identity", "-S", "--ssh-config"),
)
_OTHER_OPTIONS = ("-t", "--connect-timeout", "-T", "--command-timeout")
_TASKS_WITHOUT_HOST = ("status", "sandbox.")


class Invocation(NamedTuple):
    """How the program was started, each part as shell words: what stands before a task, and which host was named."""

    program: str = "fab"
    host_option: str = ""
    """The -H that stood before the task."""
    host_flag: str = ""
    """The --host of the task."""


_invocation: Invocation | None = None


def command(task: str) -> str:
    """The command line that runs `task` (its name and flags) in the same way as this one, between backticks.

    What leads to the same session is kept: options that name a file, a collection or a key, and the host, where the task has one.
    """
    program, host_option, host_flag = invocation()
    if task.startswith(_TASKS_WITHOUT_HOST) or "--all" in task:
        host_option = host_flag = ""
    return f"`{' '.join(part for part in (program, host_option, task, host_flag) if part)}`"


def invocation() -> Invocation:
    """How this process was started, or what `act_for` was given."""
    return _invocation or _read(sys.argv, sys.orig_argv)


def act_for(started: Invocation) -> None:
    """Have `command` name commands as those of another process, which started this one."""
    global _invocation  # one program, one command line
    _invocation = started


def _read(argv: Sequence[str], original: Sequence[str]) -> Invocation:
    arguments = argv[1:]
    before = list(_options_before_task(arguments))
    kept = [word for name, words in before if name in _KEPT_OPTIONS for word in words]
    hosts = [word for name, words in before if name in _HOST_OPTIONS for word in words]
    return Invocation(
        shlex.join([*_program(argv, original), *kept]), shlex.join(hosts), shlex.join(_host_flag(arguments))
    )


def _program(argv: Sequence[str], original: Sequence[str]) -> list[str]:
    """What was typed before the options of the program itself."""
    path = Path(argv[0])
    is_module = path.name == "__main__.py"
    name = path.parent.name if is_module else path.stem
    if not is_module and name not in PROGRAMS:
        return ["fab"]  # a test, or a program that has imported this one
    typed = _typed_to_uv(name, argv[1:])
    if typed:
        return typed
    if is_module:
        return list(original[: len(original) - len(argv[1:])])
    # A shell passes a path as it was typed, and a name with the folder of PATH where it was found.
    return [path.name if shutil.which(path.name) == argv[0] else argv[0]]


def _typed_to_uv(name: str, arguments: Sequence[str]) -> list[str]:
    """`uv run` or `uvx` and the program, as typed, where it was started so; uv stays its parent, and passes the arguments on."""
    import psutil  # slow to import, and few messages name a command

    try:
        for parent in psutil.Process().parents()[:2]:  # on Windows a launcher stands between
            words = parent.cmdline()
            typed, passed_on = words[: -len(arguments) or None], words[len(words) - len(arguments) :]
            if Path(words[0]).stem == "uv" and Path(typed[-1]).stem == name and passed_on == list(arguments):
                # `uvx` runs as `uv tool uvx`.
                return ["uvx", *typed[3:]] if typed[1:3] == ["tool", "uvx"] else typed
    except (psutil.Error, IndexError):
        pass
    return []


def _options_before_task(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The options that take a value, each with its words: `-H a`, `--hosts=a`, `-Ha`."""
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            return
        name = word.partition("=")[0] if word.startswith("--") else word[:2]
        if name in (*_HOST_OPTIONS, *_KEPT_OPTIONS, *_OTHER_OPTIONS):
            yield name, [word] if word != name else [word, *[next(words, "")]]


def _host_flag(arguments: Sequence[str]) -> list[str]:
    for word, following in zip(
        arguments, [*arguments[1:], ""], strict=False
    ):  # without words there is one more
        if word == "--host":
            return [word, following]
        if word.startswith("--host="):
            return [word]
    return []
