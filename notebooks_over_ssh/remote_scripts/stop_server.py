"""Ends the server of ours on this host and its kernels, and proves that they are gone.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import shutil

from common import answer, only_one, process_start
from process_tree import end, with_descendants
from server_state import Server


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
