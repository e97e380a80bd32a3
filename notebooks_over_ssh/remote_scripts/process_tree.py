"""Ends a process and all that descend from it, and no other.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import os
import signal
import time

from common import parents, process_start


def with_descendants(root):
    """The process and all that descend from it, each with its start: kernels lead sessions of their own."""
    children = {}
    for pid, parent in parents():
        children.setdefault(parent, []).append(pid)
    found, todo = {}, [root]
    while todo:
        pid = todo.pop()
        found[pid] = process_start(pid)
        todo.extend(children.get(pid, ()))
    return {pid: start for pid, start in found.items() if start}


def end(processes, timeout_s):
    """Ask the server to end, then end what it leaves; returns whether asking was enough. `timeout_s` is in seconds.

    The server ends its kernels, but not what a kernel has started in a session of its own.
    """
    root = next(iter(processes))
    send(processes, [root], signal.SIGTERM)
    ended = gone(processes, [root], timeout_s)
    if not gone(processes, processes, 0):
        send(processes, processes, signal.SIGTERM)
        if not gone(processes, processes, 2):
            send(processes, processes, signal.SIGKILL)
            gone(processes, processes, 5)
    return ended


def send(processes, pids, number):
    for pid in list(pids):
        if process_start(pid) == processes[pid]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass


def gone(processes, pids, timeout_s):
    deadline = time.monotonic() + timeout_s
    while any(process_start(pid) == processes[pid] for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
