"""Ends the server of ours on this host and its kernels, and proves that they are gone.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import os
import shutil
import signal
import subprocess
import time

from host import answer, only_one, process_start
from server_record import Server


def main(parameters):
    server = Server()
    with only_one(server.folder):
        record = server.running()
        if record is None:
            server.forget()
            return answer(problem="", was_running=False, forced=False, pid=None)
        if not parameters["even_if_busy"]:
            busy = busy_kernels(server, record)
            if busy:
                return answer(problem="busy", busy=busy)
        processes = with_descendants(record["pid"])
        forced = not end(processes, parameters["stop_timeout_s"])
        if any(process_start(pid) == start for pid, start in processes.items()):
            return answer(problem="still-there", pid=record["pid"])
        server.forget()
        shutil.rmtree(server.runtime, ignore_errors=True)
        answer(problem="", was_running=True, forced=forced, pid=record["pid"])


def busy_kernels(server, record):
    """How many kernels compute right now; none where the server does not tell."""
    try:
        kernels = server.ask(record, "/api/kernels", 5)
        return sum(kernel.get("execution_state") == "busy" for kernel in kernels)
    except (OSError, ValueError, AttributeError, TypeError):
        return 0


def with_descendants(root):
    """The process and all that descend from it, each with its start: kernels lead sessions of their own."""
    children = {}
    output = subprocess.check_output(["ps", "-A", "-o", "pid=,ppid="]).decode("ascii", "replace")
    for line in output.splitlines():
        pid, parent = line.split()
        children.setdefault(int(parent), []).append(int(pid))
    found, todo = {}, [root]
    while todo:
        pid = todo.pop()
        found[pid] = process_start(pid)
        todo.extend(children.get(pid, ()))
    return {pid: start for pid, start in found.items() if start}


def end(processes, timeout_s):
    """Ask the server to end, then end what is left; returns whether asking was enough. `timeout_s` is in seconds."""
    root = next(iter(processes))
    send(processes, [root], signal.SIGTERM)
    if gone(processes, timeout_s):
        return True
    send(processes, processes, signal.SIGTERM)
    if not gone(processes, 2):
        send(processes, processes, signal.SIGKILL)
        gone(processes, 5)
    return False


def send(processes, pids, number):
    for pid in list(pids):
        if process_start(pid) == processes[pid]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass


def gone(processes, timeout_s):
    deadline = time.monotonic() + timeout_s
    while any(process_start(pid) == start for pid, start in processes.items()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
