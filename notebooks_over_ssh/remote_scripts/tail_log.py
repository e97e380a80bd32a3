"""Prints the end of the server's log, and with `follow` new lines, until standard input is closed.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import contextlib
import os
import select
import sys

from common import reply
from server_state import Server

BLOCK = 64 * 1024
POLL_INTERVAL_S = 0.2  # seconds between checks for new lines
WHOLE_FILE = None


def main(parameters):
    log = Server(parameters["host"]).log
    if not os.path.exists(log):
        return reply(problem="no-log")
    reply(problem="")
    with contextlib.suppress(FileNotFoundError):  # it was removed meanwhile
        lines = parameters["lines"]
        while tail(log, lines, parameters["follow"]):
            lines = WHOLE_FILE


def tail(path, lines, follow):
    """Print the last lines of the log, and with `follow` new ones; returns whether another file has replaced it."""
    with open(path, "rb") as file:
        file.seek(0 if lines is WHOLE_FILE else start_of_last_lines(file, lines))
        copy_to_stdout(file)
        while follow and not stdin_closed(POLL_INTERVAL_S):
            is_new = is_replaced(file, path)
            copy_to_stdout(file)
            if is_new:
                return True
    return False


def start_of_last_lines(file, number):
    """The position of the last `number` lines of the file; an unterminated line counts."""
    position = file.seek(0, os.SEEK_END)
    if not number:
        return position
    file.seek(max(0, position - 1))
    number += file.read(1) == b"\n"
    while position:
        start = max(0, position - BLOCK)
        file.seek(start)
        block = file.read(position - start)
        newlines = block.count(b"\n")
        if newlines >= number:
            for _ in range(number):
                block = block[: block.rindex(b"\n")]
            return start + len(block) + 1
        number -= newlines
        position = start
    return 0


def copy_to_stdout(file):
    """Print the rest of the file."""
    while True:
        block = file.read(BLOCK)
        if not block:
            break
        sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()


def stdin_closed(timeout):
    """Whether standard input is closed: the client closes it when it stops reading. Waits up to `timeout` seconds."""
    ready, _, _ = select.select([sys.stdin], [], [], timeout)
    return bool(ready) and not os.read(sys.stdin.fileno(), BLOCK)


def is_replaced(file, path):
    """Whether the log was replaced or truncated, as a server does when it starts."""
    open_stat = os.fstat(file.fileno())
    try:
        path_stat = os.stat(path)
    except FileNotFoundError:
        return False
    return (path_stat.st_dev, path_stat.st_ino) != (
        open_stat.st_dev,
        open_stat.st_ino,
    ) or path_stat.st_size < file.tell()
