"""Reports when the session's server closes its port; runs until then, or until its own input or output is closed.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import contextlib
import os
import select

from common import listeners, process_start, reply

POLL_INTERVAL_MS = 200
BLOCK = 4096


def main(parameters):
    pid, port = parameters["pid"], parameters["port"]
    if process_start(pid) != parameters["process_start"]:
        reply(problem="", state="ended")
        return
    try:
        link = find_listening_socket(pid, port)
    except OSError:
        link = None
    if link is None:
        reply(problem="", state="blind")
        return
    reply(problem="", state="watching")
    reader = select.poll()
    # poll(2) reports POLLERR, the end of the reader, without being asked for it. Between srun and its task, only the
    # input ends with the client.
    reader.register(1, 0)
    reader.register(0, select.POLLIN)
    while is_socket(*link):
        for descriptor, _ in reader.poll(POLL_INTERVAL_MS):
            if descriptor == 1 or not os.read(0, BLOCK):
                return
    reply(problem="", state="ended")


def find_listening_socket(pid, port):
    """The link in /proc/PID/fd of the socket that listens on the port, and its target; None without one."""
    sockets = {inode for _, _, listening_port, _, inode in listeners() if listening_port == port}
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
