"""Finds and terminates the sandbox's processes."""

import os
import time
from collections.abc import Callable, Iterator

import psutil

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.sandbox.paths import MARKER, SandboxPaths
from notebooks_over_ssh.util.processes import is_alive

TERMINATE_TIMEOUT_S = 5.0
KILL_TIMEOUT_S = 5.0
LAUNCHER = "launch.py"
_POLL_INTERVAL_S = 0.02


def find_processes(paths: SandboxPaths) -> list[psutil.Process]:
    """The daemon, the processes started in the sandbox, and their descendants; never this process or its ancestors."""
    own_process = psutil.Process()
    excluded = {own_process.pid, *(parent.pid for parent in own_process.parents())}
    by_pid: dict[int, psutil.Process] = {}
    for process, _ in marked_processes(paths):
        try:
            for member in (process, *process.children(recursive=True)):
                by_pid[member.pid] = member
        except psutil.Error:
            continue
    return [member for pid, member in by_pid.items() if pid not in excluded and is_alive(member)]


def find_daemons(paths: SandboxPaths) -> list[psutil.Process]:
    """The daemons that serve this folder, with or without a state file."""
    daemons = []
    for process, _ in marked_processes(paths):
        try:
            arguments = process.cmdline()
        except psutil.Error:
            continue
        if str(paths.folder) in arguments and any(argument.endswith(LAUNCHER) for argument in arguments):
            daemons.append(process)
    return [process for process in daemons if is_alive(process)]


def terminate_all(find: Callable[[], list[psutil.Process]]) -> bool:
    """Terminate the processes that `find` returns, until it returns none; True if there were any.

    They get SIGTERM, then SIGKILL after TERMINATE_TIMEOUT_S. Raises TaskError when one is alive KILL_TIMEOUT_S later.
    """
    kill_at = time.monotonic() + TERMINATE_TIMEOUT_S
    signalled: set[psutil.Process] = set()
    found_any = False
    # A process may start another while it shuts down, so repeat until there is none.
    while processes := find():
        found_any = True
        overdue_s = time.monotonic() - kill_at
        if overdue_s > KILL_TIMEOUT_S:
            pids = " ".join(str(process.pid) for process in processes)
            raise TaskError(
                f"processes of the sandbox do not exit: {pids}", hint=f"kill them: kill -9 {pids}"
            )
        for process in processes:
            try:
                if overdue_s > 0:
                    process.kill()
                elif process not in signalled:
                    # Only once: some programs skip their clean-up at the second signal.
                    signalled.add(process)
                    process.terminate()
            except psutil.NoSuchProcess:
                continue
        _wait_for(processes, min(1.0, max(_POLL_INTERVAL_S, -overdue_s)))
    return found_any


def marked_processes(paths: SandboxPaths) -> Iterator[tuple[psutil.Process, dict[str, str]]]:
    """The processes that were started in the sandbox, with their environments."""
    for process in psutil.process_iter():
        try:
            environment = process.environ() if process.uids().real == os.getuid() else {}
        except psutil.Error:
            continue
        if environment.get(MARKER) == str(paths.folder):
            yield process, environment


def _wait_for(processes: list[psutil.Process], timeout_s: float) -> None:
    # Poll, because psutil waits until a zombie is reaped, and a zombie counts as exited here.
    deadline = time.monotonic() + timeout_s
    while processes and time.monotonic() < deadline:
        _, processes = psutil.wait_procs(processes, timeout=_POLL_INTERVAL_S)
        processes = [process for process in processes if is_alive(process)]
