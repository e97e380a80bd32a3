"""Reports properties of the host that a server depends on: disk space, load, the directory. Leaves nothing behind.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import os
import tempfile
import time

from common import directory_path, directory_problem, reply, reply_error, state_folder

PROBE_BYTES = 1024 * 1024
# The files that a start opens in place; it replaces the others.
OPENED_IN_PLACE = ("server.log", "lock")


def main(parameters):
    now = time.time()
    folder = state_folder()
    try:
        probe_write(folder, PROBE_BYTES)
        for name in OPENED_IN_PLACE:
            path = os.path.join(folder, name)
            if os.path.lexists(path):
                with open(path, "ab"):
                    pass
        runtime = os.path.join(folder, "runtime")
        if os.path.lexists(runtime):
            probe_write(runtime, 1)
    except OSError as error:
        return reply_error(error)
    space = os.statvfs(folder)
    directory = directory_path(parameters["directory"])
    reply(
        problem="",
        shell=os.environ.get("SHELL", ""),
        time=now,
        free_bytes=space.f_bavail * space.f_frsize,
        directory=directory,
        directory_problem=directory_problem(directory),
        directory_write_problem=write_problem(directory),
        load=os.getloadavg()[0],
        processors=os.cpu_count() or 1,
    )


def write_problem(directory):
    """Why no file can be created in the folder; "" if one can, or if there is no such folder."""
    try:
        if os.path.isdir(directory):
            probe_write(directory, 1)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def probe_write(folder, size):
    """Write `size` bytes to an unnamed file, because only a write detects an exceeded quota. Raises OSError."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\0" * size)
        file.flush()
        os.fsync(file.fileno())
