"""Terminates a process and its descendants, and no other process.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import os
import signal
import time

from common import process_parents, process_start


def find_tree(root):
    """The process and its descendants, each with its start. Kernels have sessions of their own."""
    children = {}
    for pid, parent in process_parents():
        children.setdefault(parent, []).append(pid)
    starts, pending = {}, [root]
    while pending:
        pid = pending.pop()
        starts[pid] = process_start(pid)
        pending.extend(children.get(pid, ()))
    return {pid: start for pid, start in starts.items() if start}


def terminate(processes, timeout_s):
    """Terminate the server, then what it leaves; returns whether it ended within `timeout_s` seconds after SIGTERM.

    The server shuts its kernels down, but not programs that a kernel started in another session.
    """
    root = next(iter(processes))
    send_signal(processes, [root], signal.SIGTERM)
    terminated = wait_gone(processes, [root], timeout_s)
    if not wait_gone(processes, processes, 0):
        send_signal(processes, processes, signal.SIGTERM)
        if not wait_gone(processes, processes, 2):
            send_signal(processes, processes, signal.SIGKILL)
            wait_gone(processes, processes, 5)
    return terminated


def send_signal(processes, pids, number):
    for pid in list(pids):
        if process_start(pid) == processes[pid]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass


def wait_gone(processes, pids, timeout_s):
    deadline = time.monotonic() + timeout_s
    while any(process_start(pid) == processes[pid] for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
