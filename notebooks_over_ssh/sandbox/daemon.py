"""The daemon: holds the lock, reports its start, and serves until a signal stops it."""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import filelock

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.sandbox.paths import SandboxPaths
from notebooks_over_ssh.sandbox.startup_message import StartupMessage, report_for, send_message
from notebooks_over_ssh.sandbox.state import Network, write_state

# `find_running` in another process holds a shared lock for some microseconds.
LOCK_TIMEOUT_S = 10.0
_log = logging.getLogger(__name__)


def run(folder: str, report_fd: int) -> int:
    """Serve the sandbox in `folder`; send one StartupMessage to `report_fd`, and close it.

    Returns the exit code: 0 after SIGTERM, 1 after a failure.
    """
    paths = SandboxPaths(Path(folder))
    _reset_process_state()
    reported = False

    def on_ready(network: Network) -> None:
        nonlocal reported
        write_state(paths, network)
        reported = True
        send_message(StartupMessage(network=network), report_fd)

    try:
        with filelock.FileLock(paths.daemon_lock, mode=0o600, timeout=LOCK_TIMEOUT_S):
            # Inside the try block, so that a broken installation is reported too.
            from notebooks_over_ssh.sandbox.server import serve

            asyncio.run(serve(paths, on_ready))
            paths.state_file.unlink(missing_ok=True)
    except BaseException as error:  # noqa: BLE001  # the parent needs a report of any failure
        _log.exception("the sandbox failed")
        if isinstance(error, filelock.Timeout):
            error = TaskError("another sandbox daemon holds the lock of this folder")
        if not reported:
            send_message(report_for(error, paths), report_fd)
        return 1
    return 0


def _reset_process_state() -> None:
    # Commands of the hosts would inherit blocked and ignored signals.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    os.chdir("/")
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s"
    )
    # At INFO, asyncssh logs every command that a user runs.
    logging.getLogger("asyncssh").setLevel(logging.ERROR)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
