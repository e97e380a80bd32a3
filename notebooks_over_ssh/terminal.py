"""Everything that the user reads and is asked: one voice, in lowercase, a `hint:` after every error.

What is printed may hold words of a peer. So each call prints one line, in which nothing can begin another one.
"""

import getpass
import json
import os
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from notebooks_over_ssh.errors import Problem, unanswered
from notebooks_over_ssh.util.peer_text import attributed, clean, terminal_columns

NAME_WIDTH = 11
SHORTEST_TEXT = 20  # columns


def say(line: str) -> None:
    """Print one line of the result, as it is but for what would steer the terminal."""
    print(printable(line), flush=True)


def say_json(value: Any) -> None:
    """Print the value for a program to read; JSON escapes everything that would steer the terminal."""
    print(json.dumps(value, indent=2), flush=True)


def more(line: str) -> None:
    """Print a line that belongs to the step before it."""
    print(f"{'':{NAME_WIDTH}} {clean(line)}", flush=True)


def step(name: str, what: str, started: float | None = None) -> None:
    """Print what a step of the story came to, and with `started` (time.monotonic()) the seconds that it took."""
    took = "" if started is None else f"  {faint(f'{time.monotonic() - started:.1f} s')}"
    print(f"{_own_line()}{bold(clean(name).ljust(NAME_WIDTH))} {clean(what)}{took}", flush=True)


def status_line(name: str, what: str) -> None:
    """Show what goes on, where a person watches in the place of which the next line comes."""
    if _is_watched():
        print(f"{_own_line()}{bold(name.ljust(NAME_WIDTH))} {faint(clean(what) + ' …')}", end="", flush=True)
    else:
        step(name, what)


@contextmanager
def working(name: str, what: str) -> Iterator[None]:
    """Show what is being waited for, where a person watches, until the body ends."""
    if _is_watched():
        print(f"{bold(name.ljust(NAME_WIDTH))} {faint(what + ' …')}", end="", flush=True)
    try:
        yield
    finally:
        print(_own_line(), end="", flush=True)


def show_problem(problem: Problem) -> None:
    """Print to stderr what happened, what shows it, and the one thing to do."""
    for line in problem.detail:
        for row in attributed(problem.source, line):
            print(f"  {row}", file=sys.stderr)
    print(f"{red('error:')} {_hung(str(problem), 'error: ')}", file=sys.stderr)
    if problem.hint:
        print(f"hint: {clean(problem.hint)}", file=sys.stderr, flush=True)


def show_ending(word: str) -> None:
    """Print to stderr, in a line of its own, the word for a signal that ended the step."""
    clear = "\r\033[K" if _is_terminal(sys.stderr) else ""  # the terminal has shown ^C
    print(f"{clear}{word}", file=sys.stderr, flush=True)


def warn(what: str) -> None:
    """Print to stderr something that did not stop the step."""
    print(f"{red('warning:')} {_hung(what, 'warning: ')}", file=sys.stderr, flush=True)


def somebody_is_there() -> bool:
    """Whether a person can be asked: standard input and error are a terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


class Person:
    """Asks the person at the terminal; every answer is None where there is nobody (`is_there` is False).

    It asks at the terminal itself, so that a process whose standard input is a pipe can ask too.
    """

    def __init__(self, is_there: bool) -> None:
        self.is_there = is_there

    def secret(self, prompt: str) -> str | None:
        """Ask without echo. Raises Failed at the end of input, as Ctrl-D makes it."""
        if not self.is_there:
            return None
        try:
            return getpass.getpass(_question(prompt))
        except EOFError as error:
            print(file=sys.stderr)
            raise unanswered() from error
        except KeyboardInterrupt:
            print(file=sys.stderr)
            raise

    def line(self, prompt: str) -> str | None:
        """Ask for a line, without the white space around it; None also at the end of input, as Ctrl-D makes it."""
        if not self.is_there:
            return None
        with _terminal() as (questions, answers):
            print(_question(prompt), end="", file=questions, flush=True)
            answer = ""
            try:
                answer = answers.readline()
            finally:
                if not answer:
                    print(file=questions, flush=True)
        return answer.strip() if answer else None

    def notice(self, lines: Iterable[str]) -> None:
        """Show lines of somebody else's, which say whose they are; also where nobody can be asked."""
        print(_own_line() + "\n".join(map(printable, lines)), file=sys.stderr, flush=True)

    def agrees(self, question: str) -> bool:
        """Ask a question that is answered with yes or, by everything else and by nobody, with no."""
        return (self.line(f"{question} [y/N]") or "").lower() in ("y", "yes")


@contextmanager
def _terminal() -> Iterator[tuple[TextIO, TextIO]]:
    """Where to ask and where to read the answer: tty(4)'s /dev/tty, as getpass does."""
    try:
        with (
            open("/dev/tty", encoding="utf-8") as answers,
            open("/dev/tty", "w", encoding="utf-8") as questions,
        ):
            yield questions, answers
    except OSError:
        yield sys.stderr, sys.stdin


def _is_watched() -> bool:
    return _is_terminal(sys.stdout)


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _own_line() -> str:
    """What clears the line that shows what is being waited for."""
    return "\r\033[K" if _is_watched() else ""


def printable(text: str) -> str:
    """The text in one line without control characters, with its spaces: what a host says must not steer the terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _question(prompt: str) -> str:
    return _own_line() + "\n".join(printable(line) for line in prompt.split("\n")) + " "


def _hung(text: str, begin: str) -> str:
    """The text in one line; at a terminal in rows that are indented after the first, so that none looks like a line of its own."""
    line = clean(text)
    if not sys.stderr.isatty():
        return line
    indent = " " * len(begin)
    return f"\n{indent}".join(
        textwrap.wrap(
            line,
            max(SHORTEST_TEXT, terminal_columns() - len(begin) - 1),
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def bold(text: str) -> str:
    return _styled("1", text)


def faint(text: str) -> str:
    return _styled("2", text)


def red(text: str) -> str:
    return _styled("1;31", text)


def _styled(code: str, text: str) -> str:
    # https://no-color.org
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plain else f"\033[{code}m{text}\033[0m"
