"""Stops the session's server on this host and its kernels, and checks that they have ended.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import shutil

from common import exclusive_lock, process_start, reply
from cookie_key import delete_cookie_key
from process_tree import find_tree, terminate
from server_state import Server


def main(parameters):
    server = Server()
    with exclusive_lock(server.folder):
        record = server.running()
        if record is None:
            server.delete()
            delete_cookie_key(server)
            return reply(problem="", was_running=False, forced=False, pid=None)
        if not parameters["force"]:
            busy = busy_kernels(server, record)
            if busy:
                return reply(problem="busy", busy=busy)
        processes = find_tree(record["pid"])
        forced = not terminate(processes, parameters["stop_timeout_s"])
        if any(process_start(pid) == start for pid, start in processes.items()):
            return reply(problem="still-running", pid=record["pid"])
        server.delete()
        delete_cookie_key(server)
        shutil.rmtree(server.runtime, ignore_errors=True)
        reply(problem="", was_running=True, forced=forced, pid=record["pid"])


def busy_kernels(server, record):
    """The number of kernels that are busy; 0 if the server does not answer."""
    try:
        kernels = server.api_get(record, "/api/kernels", 5)
        return sum(kernel.get("execution_state") == "busy" for kernel in kernels)
    except (OSError, ValueError, AttributeError, TypeError):
        return 0
