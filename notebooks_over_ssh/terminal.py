"""All output and prompts for the user: lowercase messages, and a `hint:` after every error.

Messages may contain text from a peer, so each call prints one line, and no text in it can start another.
"""

import json
import os
import select
import signal
import socket
import sys
import textwrap
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO

from notebooks_over_ssh.errors import UserError, unanswered
from notebooks_over_ssh.util.peer_text import clean, prefix_lines, terminal_columns

NAME_WIDTH = len("environments")
MIN_TEXT_COLUMNS = 20
# The longest line that a terminal passes on (termios(3), canonical mode).
MAX_ANSWER_BYTES = 4096


def print_line(line: str) -> None:
    """Print one line of the result without terminal control characters."""
    print(sanitize(line), flush=True)


def print_json(value: Any) -> None:
    """Print the value as JSON, which escapes all control characters."""
    print(json.dumps(value, indent=2), flush=True)


def print_detail(line: str) -> None:
    """Print a detail of the step printed before."""
    print(f"{'':{NAME_WIDTH}} {clean(line)}", flush=True)


def print_step(name: str, result: str, start_time: float | None = None) -> None:
    """Print the result of a step and, given its `start_time` (time.monotonic()), the seconds it took."""
    elapsed = "" if start_time is None else f"  {faint(f'{time.monotonic() - start_time:.1f} s')}"
    print(f"{_clear_line()}{bold(clean(name).ljust(NAME_WIDTH))} {clean(result)}{elapsed}", flush=True)


def print_progress(name: str, activity: str) -> None:
    """Print the current activity; on a terminal the next line replaces it."""
    if is_terminal():
        print(
            f"{_clear_line()}{bold(name.ljust(NAME_WIDTH))} {faint(clean(activity) + ' …')}",
            end="",
            flush=True,
        )
    else:
        print_step(name, activity)


@contextmanager
def progress(name: str, activity: str) -> Iterator[None]:
    """On a terminal, show the current activity until the body ends."""
    if is_terminal():
        print(f"{bold(name.ljust(NAME_WIDTH))} {faint(activity + ' …')}", end="", flush=True)
    try:
        yield
    finally:
        print(_clear_line(), end="", flush=True)


def print_error(error: UserError) -> None:
    """Print the error's detail, message and hint to stderr."""
    for line in error.detail:
        for row in prefix_lines(error.source, line):
            print(f"  {row}", file=sys.stderr)
    print(f"{red('error:')} {_wrap_indented(str(error), 'error: ')}", file=sys.stderr)
    if error.hint:
        print(f"hint: {clean(error.hint)}", file=sys.stderr, flush=True)


def show_ending(word: str) -> None:
    """Print to stderr, on its own line, the word for the signal that ended the task."""
    clear = "\r\033[K" if _is_terminal(sys.stderr) else ""  # the terminal has shown ^C
    print(f"{clear}{word}", file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Print a warning to stderr."""
    print(f"{red('warning:')} {_wrap_indented(message, 'warning: ')}", file=sys.stderr, flush=True)


def is_interactive() -> bool:
    """Whether the user can be prompted: standard input and standard error are a terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


class TerminalPrompter:
    """Prompts the user at the terminal; every answer is None if `is_interactive` is False.

    Uses the controlling terminal itself, so that a process whose standard input is a pipe can prompt too.
    """

    def __init__(self, is_interactive: bool) -> None:
        self.is_interactive = is_interactive

    def ask_secret(self, prompt: str) -> str | None:
        """Prompt without echo. Raises TaskError at end of input (Ctrl-D)."""
        if not self.is_interactive:
            return None
        with _terminal() as (output, input_):
            try:
                with _echo_off(input_):
                    answer = _read_answer(prompt, output, input_)
            finally:
                print(file=output, flush=True)
        if not answer:
            raise unanswered()
        return answer.removesuffix("\n")

    def ask(self, prompt: str) -> str | None:
        """Prompt for a line, and strip white space; None also at end of input (Ctrl-D)."""
        if not self.is_interactive:
            return None
        with _terminal() as (output, input_):
            answer = ""
            try:
                answer = _read_answer(prompt, output, input_)
            finally:
                if not answer:
                    print(file=output, flush=True)
        return answer.strip() if answer else None

    def show_banner(self, lines: Iterable[str]) -> None:
        """Print a peer's text, whose lines name their source, even if the user cannot be prompted."""
        print(_clear_line() + "\n".join(map(sanitize, lines)), file=sys.stderr, flush=True)

    def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question; any other answer, or none, is no."""
        return (self.ask(f"{question} [y/N]") or "").lower() in ("y", "yes")


@contextmanager
def _terminal() -> Iterator[tuple[TextIO, TextIO]]:
    """Open the terminal for prompts and answers: /dev/tty, else stderr and stdin, as getpass does."""
    with ExitStack() as stack:
        try:
            input_: TextIO = stack.enter_context(open("/dev/tty", encoding="utf-8"))
            output: TextIO = stack.enter_context(open("/dev/tty", "w", encoding="utf-8"))
        except OSError:
            output, input_ = sys.stderr, sys.stdin
        yield output, input_


@contextmanager
def _echo_off(terminal: TextIO) -> Iterator[None]:
    """Turn echo off, and discard what was typed before and after the answer, as getpass does.

    getpass cannot be used, because it blocks in read(2) without `_wait_for_line`.
    """
    import termios  # POSIX only, and on Windows a message is all that this module prints

    attributes = termios.tcgetattr(terminal)
    silent = [*attributes[:3], attributes[3] & ~termios.ECHO, *attributes[4:]]
    try:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, attributes)


def _read_answer(prompt: str, output: TextIO, input_: TextIO) -> str:
    """Prompt for a line, and return it with its line end, or "" at end of input.

    `input_.readline` would leave copies of a secret in its buffers.
    """
    print(_format_prompt(prompt), end="", file=output, flush=True)
    buffer = bytearray(MAX_ANSWER_BYTES)
    size = 0
    with memoryview(buffer) as view:
        try:
            while size < len(buffer) and not buffer.endswith(b"\n", 0, size):
                _wait_for_line(input_)
                received = os.readv(input_.fileno(), [view[size:]])
                if not received:
                    break
                size += received
            return str(view[:size], "utf-8")
        finally:
            buffer[:] = bytes(len(buffer))


def _wait_for_line(terminal: TextIO) -> None:
    """Return when a line, or the end of input, can be read from the terminal.

    A signal that arrives just before a blocking read does not interrupt it, so Ctrl-C would have no effect.
    `signal.set_wakeup_fd` makes it visible to select(2), after which Python calls the signal's handler.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread handles signals
    receiver, sender = socket.socketpair()
    with receiver, sender:
        sender.setblocking(False)
        try:  # includes the next line, because KeyboardInterrupt may be raised just after it
            signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
            while terminal.fileno() not in select.select([terminal.fileno(), receiver.fileno()], [], [])[0]:
                receiver.recv(1)
        finally:
            signal.set_wakeup_fd(-1)


def is_terminal() -> bool:
    """Whether standard output is a terminal on which a line can replace the one before."""
    return _is_terminal(sys.stdout)


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _clear_line() -> str:
    """The escape sequence that clears the line of `progress`."""
    return "\r\033[K" if is_terminal() else ""


def sanitize(text: str) -> str:
    """The text without control characters, so that a host cannot control the terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _format_prompt(prompt: str) -> str:
    return _clear_line() + "\n".join(sanitize(line) for line in prompt.split("\n")) + " "


def _wrap_indented(text: str, prefix: str) -> str:
    """The text on one line; on a terminal, wrapped with indented rows, so that none looks like a separate line."""
    line = clean(text)
    if not sys.stderr.isatty():
        return line
    indent = " " * len(prefix)
    return f"\n{indent}".join(
        textwrap.wrap(
            line,
            max(MIN_TEXT_COLUMNS, terminal_columns() - len(prefix) - 1),
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
