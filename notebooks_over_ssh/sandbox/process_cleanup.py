"""The processes of the practice network: which they are, and how they end."""

import os
import time
from collections.abc import Callable, Iterator

import psutil

from notebooks_over_ssh.errors import Failed
from notebooks_over_ssh.sandbox.paths import MARKER, Place

GRACE_SECONDS = 5.0
KILL_SECONDS = 5.0
LAUNCHER = "launch.py"
_TURN_SECONDS = 0.02


def members(place: Place) -> list[psutil.Process]:
    """The daemon, what was started in the sandbox, and their descendants; never this process or its ancestors."""
    mine = psutil.Process()
    spared = {mine.pid, *(parent.pid for parent in mine.parents())}
    found: dict[int, psutil.Process] = {}
    for process in _marked(place):
        try:
            for member in (process, *process.children(recursive=True)):
                found[member.pid] = member
        except psutil.Error:
            continue
    return [member for pid, member in found.items() if pid not in spared and _lives(member)]


def daemons(place: Place) -> list[psutil.Process]:
    """The background processes that serve this folder, with a record or without."""
    found = []
    for process in _marked(place):
        try:
            arguments = process.cmdline()
        except psutil.Error:
            continue
        if str(place.folder) in arguments and any(argument.endswith(LAUNCHER) for argument in arguments):
            found.append(process)
    return [process for process in found if _lives(process)]


def end(look: Callable[[], list[psutil.Process]]) -> bool:
    """End the processes that `look` finds, until it finds none; True if there were any.

    They get SIGTERM, and SIGKILL after GRACE_SECONDS. Raises Failed when some live KILL_SECONDS longer.
    """
    killing_begins = time.monotonic() + GRACE_SECONDS
    told: set[psutil.Process] = set()
    found = False
    # A process may start another while it is told to end, so only a look that finds none is the end of it.
    while processes := look():
        found = True
        late = time.monotonic() - killing_begins
        if late > KILL_SECONDS:
            pids = " ".join(str(process.pid) for process in processes)
            raise Failed(
                f"processes of the practice network do not end: {pids}", hint=f"end them: kill -9 {pids}"
            )
        for process in processes:
            try:
                if late > 0:
                    process.kill()
                elif process not in told:
                    # Once: a program may take a second signal for impatience, and skip its cleaning up.
                    told.add(process)
                    process.terminate()
            except psutil.NoSuchProcess:
                continue
        _wait_for(processes, min(1.0, max(_TURN_SECONDS, -late)))
    return found


def _marked(place: Place) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.uids().real == os.getuid() and process.environ().get(MARKER) == str(place.folder):
                yield process
        except psutil.Error:
            continue


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _wait_for(processes: list[psutil.Process], seconds: float) -> None:
    # In short turns: psutil alone would wait for a zombie, which is done but for its parent's attention.
    deadline = time.monotonic() + seconds
    while processes and time.monotonic() < deadline:
        _, processes = psutil.wait_procs(processes, timeout=_TURN_SECONDS)
        processes = [process for process in processes if _lives(process)]
