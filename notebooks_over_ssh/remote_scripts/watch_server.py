"""Tells when the server of ours gives up its port, by its end or before; runs until then, or until nobody listens any more.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import contextlib
import os
import select

from common import answer, listeners, process_start

LOOK_EVERY_MS = 200


def main(parameters):
    pid, port = parameters["pid"], parameters["port"]
    if process_start(pid) != parameters["process_start"]:
        answer(problem="", state="ended")
        return
    try:
        link = listening(pid, port)
    except OSError:
        link = None
    if link is None:
        answer(problem="", state="blind")
        return
    answer(problem="", state="watching")
    reader = select.poll()
    # poll(2): that its reader has gone is told whatever is asked for.
    reader.register(1, 0)
    while is_socket(*link):
        if reader.poll(LOOK_EVERY_MS):
            return
    answer(problem="", state="ended")


def listening(pid, port):
    """The link in /proc of the socket with which the process listens on the port, and what it leads to; None without one."""
    sockets = {inode for _, _, its_port, _, inode in listeners() if its_port == port}
    folder = "/proc/%d/fd" % pid
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            target = os.readlink(path)
            if target in sockets:
                return path, target
    return None


def is_socket(path, target):
    try:
        return os.readlink(path) == target
    except OSError:
        return False
