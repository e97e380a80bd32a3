"""Tells what of the host a server depends on beside its environment; leaves nothing behind.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import os
import tempfile

from host import answer, state_folder

TRIAL_SIZE = 1024 * 1024


def main(parameters):
    folder = state_folder()
    problem, reason = "", ""
    try:
        # Only writing finds out about a quota.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * TRIAL_SIZE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        problem, reason = "not-written", str(error)
    space = os.statvfs(folder)
    directory = os.path.expanduser(parameters["directory"])
    answer(
        problem=problem,
        reason=reason,
        shell=os.environ.get("SHELL", ""),
        free_bytes=space.f_bavail * space.f_frsize,
        directory=directory,
        directory_exists=os.path.isdir(directory),
        load=os.getloadavg()[0],
        processors=os.cpu_count() or 1,
    )
