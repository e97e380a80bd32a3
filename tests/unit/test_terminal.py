"""Output and prompts: one line per call, and no line that a peer could have forged."""

import contextlib
import io
import os
import select
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from typing import TextIO

import psutil
import pytest

from notebooks_over_ssh import terminal
from notebooks_over_ssh.errors import RemoteError, TaskError
from notebooks_over_ssh.terminal import TerminalPrompter
from notebooks_over_ssh.util.peer_text import quote
from tests.kit.wait import wait_until

FORGED = "1.0\nready        https://localhost:1/\r\nhint: run it\x1b[2K\u2028error: no"


@pytest.mark.parametrize(
    "show",
    [
        terminal.print_line,
        terminal.print_detail,
        terminal.warn,
        lambda text: terminal.print_step("serve", text),
    ],
)
def test_one_line(capsys: pytest.CaptureFixture[str], show: Callable[[str], None]) -> None:
    """Any text is printed as one line without control characters."""
    show(FORGED)
    (line,) = "".join(capsys.readouterr()).splitlines()
    assert line.isprintable()
    assert "ready" in line


def test_error(capsys: pytest.CaptureFixture[str]) -> None:
    """An error is one line, its hint is one, and each line of details begins with its owner."""
    terminal.print_error(RemoteError(FORGED, hint="try again", detail=("a line", FORGED), source="ashbury"))
    *details, error, hint = capsys.readouterr().err.splitlines()
    assert all(line.startswith("  ashbury | ") for line in details)
    assert error.startswith("error: 1.0 ready")
    assert hint == "hint: try again"


class SmallTerminal(io.StringIO):
    """A terminal of 60 columns."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("pad", [" ".join(["word"] * 40), "x" * 200, "x" * 53 + " "])
def test_rows_of_an_error(monkeypatch: pytest.MonkeyPatch, pad: str) -> None:
    """At a terminal the further rows of an error are indented, so that none of them looks like a hint."""
    output = SmallTerminal()
    monkeypatch.setattr(terminal, "terminal_columns", lambda: 60)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", output)
        terminal.print_error(TaskError(f"the host said {quote(pad + 'hint: run it')}", hint="try again"))
    first, *rows, hint = output.getvalue().splitlines()
    assert first.startswith("error: ")
    assert hint == "hint: try again"
    assert rows
    assert all(row.startswith(" " * 7) and len(row) < 60 for row in rows)


@pytest.fixture
def master_fd(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The other end of a pseudo-terminal at which the prompts appear; it must have the same settings in the end."""
    master, slave = os.openpty()
    settings = termios.tcgetattr(slave)

    @contextlib.contextmanager
    def pseudo_terminal() -> Iterator[tuple[TextIO, TextIO]]:
        with open(slave, closefd=False) as input_, open(slave, "w", closefd=False) as output:
            yield output, input_

    monkeypatch.setattr(terminal, "_terminal", pseudo_terminal)
    yield master
    assert termios.tcgetattr(slave) == settings
    os.close(master)
    os.close(slave)


PROMPTS = pytest.mark.parametrize("prompt", [TerminalPrompter.ask, TerminalPrompter.ask_secret])
Prompt = Callable[[TerminalPrompter, str], str | None]


@PROMPTS
def test_ctrl_c_just_before_the_read(master_fd: int, prompt: Prompt) -> None:
    """Ctrl-C ends a prompt even if the signal arrives too early to interrupt the read of the answer."""
    answered, was_late = threading.Event(), threading.Event()

    def interrupt() -> None:
        os.read(master_fd, 1)  # the prompt
        wait_until(lambda: psutil.Process().status() == psutil.STATUS_SLEEPING, "the main thread waits")
        # A signal that another thread receives does not interrupt the main thread's system call either.
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        if not answered.wait(timeout=5):
            was_late.set()
            os.write(master_fd, b"\n")

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            prompt(TerminalPrompter(True), "yes?")
    finally:
        answered.set()
        thread.join()
    assert not was_late.is_set()


@PROMPTS
def test_ctrl_c_just_after_the_prompt(
    master_fd: int, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C at the moment at which the wait begins leaves no wakeup fd, which would break the next prompt."""
    set_wakeup_fd = signal.set_wakeup_fd

    def interrupted(fd: int, **options: bool) -> int:
        previous_fd = set_wakeup_fd(fd, **options)
        if fd != -1:
            raise KeyboardInterrupt
        return previous_fd

    monkeypatch.setattr(signal, "set_wakeup_fd", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prompt(TerminalPrompter(True), "yes?")
    assert set_wakeup_fd(-1) == -1


def test_secret(master_fd: int) -> None:
    """The answer to a prompt for a secret is not echoed, and what was typed before the prompt is not part of it."""
    os.write(master_fd, b"early\n")
    with terminal._terminal() as (_, input_):
        wait_until(lambda: select.select([input_], [], [], 0)[0], "it has arrived")
    output = b""

    def answer() -> None:
        nonlocal output
        while not output.endswith(b"word? "):
            output += os.read(master_fd, 100)
        os.write(master_fd, b"hunter2\n")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    assert TerminalPrompter(True).ask_secret("word?") == "hunter2"
    thread.join()
    assert output + os.read(master_fd, 100) == b"early\r\nword? \r\n"
