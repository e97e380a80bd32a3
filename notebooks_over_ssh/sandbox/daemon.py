"""The background process: holds the lock, serves until it is told to stop, and says how its start went."""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import filelock

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.sandbox.paths import SandboxPaths
from notebooks_over_ssh.sandbox.startup_message import StartupMessage, describe_failure, send_message
from notebooks_over_ssh.sandbox.state import Network, write_state

# Whoever asks whether the network runs holds the lock for microseconds.
LOCK_TIMEOUT_S = 10.0
_log = logging.getLogger(__name__)


def run(folder: str, report_fd: int) -> int:
    """Serve the practice network in a folder; say once through a descriptor how the start went, and close it.

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
            # Inside, so that a broken installation is reported as well.
            from notebooks_over_ssh.sandbox.server import serve

            asyncio.run(serve(paths, on_ready))
            paths.state_file.unlink(missing_ok=True)
    except BaseException as error:  # noqa: BLE001  # the starter is told of every failure, whatever it is
        _log.exception("the practice network ended")
        if isinstance(error, filelock.Timeout):
            error = TaskError(
                "another practice network holds this folder's lock",
            )
        if not reported:
            send_message(describe_failure(error, paths), report_fd)
        return 1
    return 0


def _reset_process_state() -> None:
    # A blocked or ignored signal is inherited, and would reach every command of every host.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    os.chdir("/")
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s"
    )
    # At INFO asyncssh writes every command that a user runs, which is not the log's business.
    logging.getLogger("asyncssh").setLevel(logging.ERROR)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
