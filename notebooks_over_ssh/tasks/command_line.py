"""What Invoke's command line lacks: the nearest name for one that it does not know, and completion of hosts."""

import ast
import contextlib
import difflib
import inspect
import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from invoke.exceptions import Exit, ParseError
from invoke.program import Program

if TYPE_CHECKING:
    from notebooks_over_ssh.errors import ConfigError

HOST_FLAGS = ("-H", "--hosts", "--host")
# A shell expands the words that it is offered (bash(1), `compgen -W`), and a host reports its name itself.
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def extend_program() -> None:
    """Make the program that is loading a collection suggest names and complete hosts. Does nothing outside of one."""
    frame = inspect.currentframe()
    while frame is not None:
        program = frame.f_locals.get("self")
        if isinstance(program, Program):
            # It has no other hook: it prints a ParseError, and exits, in the method that calls these two.
            program.parse_tasks = partial(_parse_tasks, program)  # type: ignore[method-assign]
            program.parse_cleanup = partial(_parse_cleanup, program)  # type: ignore[method-assign]
            return
        frame = frame.f_back


def _parse_tasks(program: Program) -> None:
    with suggestions(program):
        type(program).parse_tasks(program)


def _parse_cleanup(program: Program) -> None:
    complete_hosts(program)
    with suggestions(program):
        type(program).parse_cleanup(program)


@contextlib.contextmanager
def suggestions(program: Program) -> Iterator[None]:
    """Raise a ConfigError with the nearest name in place of a ParseError for an unknown task or flag."""
    try:
        yield
    except ParseError as error:
        match = re.fullmatch(r"No idea what (.+) is!", str(error))
        if not match:
            raise
        raise _unknown(program, ast.literal_eval(match[1]), error) from error


def _unknown(program: Program, name: str, error: ParseError) -> "ConfigError":
    from notebooks_over_ssh.errors import ConfigError

    if not name.startswith("-"):
        names = [
            alias for task, aliases in program.collection.task_names.items() for alias in (task, *aliases)
        ]
        hint = f"`{program.called_as} --list` lists the tasks"
        return ConfigError(f"there is no task {name}", hint=_did_you_mean(name, names) or hint)
    task = error.context.name if error.context else None
    if name.startswith(("-H", "--hosts")) and "hosts" not in program.args:
        return ConfigError(
            f"{program.called_as} has no {name}", hint="give the host after the task: --host HOST"
        )
    contexts = [program.initial_context, *([error.context] if error.context else [])]
    flags = [flag for context in contexts for flag in context.flag_names()]
    hint = f"`{program.called_as} --help{f' {task}' if task else ''}` shows the flags"
    owner = f"{task} has no flag" if task else "there is no flag"
    return ConfigError(f"{owner} {name}", hint=_did_you_mean(name.partition("=")[0], flags) or hint)


def _did_you_mean(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else ""


def complete_hosts(program: Program) -> None:
    """If the shell completes the value of a host flag, print the hosts, one a line. Raises Exit after the flag itself.

    After a part of the value Invoke prints its own candidates too, because it does not know whether a space follows.
    """
    if not program.args.complete.value:
        return
    # bash makes a word of the = in --host=NAME (bash(1), COMP_WORDBREAKS).
    words = ["", *(word for word in program.core.remainder.split() if word != "=")]
    if words[-1] in HOST_FLAGS:
        _print_hosts("")
        raise Exit
    if words[-2:-1] and words[-2] in HOST_FLAGS:
        _print_hosts(words[-1])


def _print_hosts(typed: str) -> None:
    from notebooks_over_ssh.terminal import print_line

    before = "".join(typed.rpartition(",")[:2])
    if before and not all(SAFE_NAME.fullmatch(name) for name in before.removesuffix(",").split(",")):
        return
    for host in _hosts():
        print_line(before + host)


def _hosts() -> list[str]:
    """The hosts of the sessions on record, then those of ~/.ssh/config."""
    from notebooks_over_ssh.errors import UserError
    from notebooks_over_ssh.jupyter import session as sessions
    from notebooks_over_ssh.ssh.config_hosts import host_names

    names: list[str] = []
    with contextlib.suppress(UserError):  # a state folder that cannot be read
        names += [name for record in sessions.list_records() for name in (record.host, record.requested_host)]
    names += host_names()
    return [name for name in dict.fromkeys(names) if SAFE_NAME.fullmatch(name)]
