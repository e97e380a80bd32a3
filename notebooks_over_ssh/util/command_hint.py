"""Formats commands for messages so that the user can type them, after the command line of this process."""

import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

PROGRAMS = ("fab", "invoke", "inv", "notebooks")
# Options before the task that take a value: fabric/main.py and invoke/program.py, `core_args`.
_HOST_OPTIONS = ("-H", "--hosts")
_HOST_FLAGS = ("--host", "-h", "--site", "-s")  # after the task
_KEPT_OPTIONS = (
    *("-f", "--config", "-c", "--collection", "-r", "--search-root"),
    *("-i", "--identity", "-S", "--ssh-config"),
)
_OTHER_OPTIONS = ("-t", "--connect-timeout", "-T", "--command-timeout")
_TASKS_WITHOUT_HOST = ("status", "init", "sandbox.")


class Invocation(NamedTuple):
    """How the program was started, each part quoted for a shell."""

    program: str = "fab"
    host_option: str = ""
    """The -H before the task."""
    host_flags: str = ""
    """The --host and --site after the task."""
    collection: str = ""
    """What stands before the names of these tasks in the program's own collection: `jupyter.`"""


_invocation: Invocation | None = None
_collection_path: str | None = ""


def command(task: str) -> str:
    """The command line that runs `task` (its name and flags) for the same session, in backticks.

    It has this process's options that name a file, a collection or a key, and the host if the task accepts one.
    """
    program, host_option, host_flags, collection = invocation()
    if task.startswith(_TASKS_WITHOUT_HOST) or "--all" in task:
        host_option = host_flags = ""
    return f"`{' '.join(part for part in (program, host_option, collection + task, host_flags) if part)}`"


def invocation() -> Invocation:
    """The invocation of this process, or the one set with `act_for`."""
    if _invocation:
        return _invocation
    if _collection_path is None:
        return Invocation(shlex.join([sys.executable, "-m", "notebooks_over_ssh"]))
    program, host_option, host_flag, _ = _parse(sys.argv, sys.orig_argv)
    return Invocation(program, host_option, host_flag, _collection_path)


def set_collection(path: str | None) -> None:
    """Have `command` put the path of a collection before the names of tasks: `jupyter.`

    With None, the program that runs does not have the tasks, and `command` names one that does.
    """
    global _collection_path  # one program, one collection
    _collection_path = path


def act_for(other: Invocation) -> None:
    """Format commands after the invocation of another process, which started this one."""
    global _invocation
    _invocation = other


def _parse(argv: Sequence[str], original: Sequence[str]) -> Invocation:
    arguments = argv[1:]
    options = list(_options_before_task(arguments))
    kept_options = [word for name, words in options if name in _KEPT_OPTIONS for word in words]
    host_option = [word for name, words in options if name in _HOST_OPTIONS for word in words]
    return Invocation(
        shlex.join([*_program(argv, original), *kept_options]),
        shlex.join(host_option),
        shlex.join(_host_flags(arguments)),
    )


def _program(argv: Sequence[str], original: Sequence[str]) -> list[str]:
    """The words that start the program, before its own options."""
    path = Path(argv[0])
    is_module = path.name == "__main__.py"
    name = path.parent.name if is_module else path.stem
    if not is_module and name not in PROGRAMS:
        return ["fab"]  # a test, or another program that has imported this module
    typed = _typed_to_uv(name, argv[1:])
    if typed:
        return typed
    if is_module:
        return list(original[: len(original) - len(argv[1:])])
    # argv[0] is the path as typed; for a name that was found on PATH, it is the full path.
    return [path.name if shutil.which(path.name) == argv[0] else argv[0]]


def _typed_to_uv(name: str, arguments: Sequence[str]) -> list[str]:
    """The words that start the program with `uv run` or `uvx`, if it was started so; uv stays its parent process."""
    import psutil  # slow to import, and rarely needed

    try:
        for parent in psutil.Process().parents()[:2]:  # on Windows, a launcher may be in between
            words = parent.cmdline()
            start, rest = words[: -len(arguments) or None], words[len(words) - len(arguments) :]
            if Path(words[0]).stem == "uv" and Path(start[-1]).stem == name and rest == list(arguments):
                # `uvx` runs as `uv tool uvx`.
                return ["uvx", *start[3:]] if start[1:3] == ["tool", "uvx"] else start
    except (psutil.Error, IndexError):
        pass
    return []


def _options_before_task(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the words of each option with a value: `-H a`, `--hosts=a`, `-Ha`."""
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            return
        name = word.partition("=")[0] if word.startswith("--") else word[:2]
        if name in (*_HOST_OPTIONS, *_KEPT_OPTIONS, *_OTHER_OPTIONS):
            yield name, [word] if word != name else [word, next(words, "")]


def _host_flags(arguments: Sequence[str]) -> list[str]:
    flags: dict[str, list[str]] = {}  # the last of each
    for word, next_word in pairwise([*arguments, ""]):
        name, has_value, _ = word.partition("=")
        if name in _HOST_FLAGS:
            flags[name] = [word] if has_value else [word, next_word]
    return [word for words in flags.values() for word in words]
