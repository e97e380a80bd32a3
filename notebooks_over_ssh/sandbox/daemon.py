"""The background process: holds the lock, serves until it is told to stop, and says how its start went."""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import filelock

from notebooks_over_ssh.errors import Failed
from notebooks_over_ssh.sandbox.paths import Place
from notebooks_over_ssh.sandbox.startup_message import Report, explained, send
from notebooks_over_ssh.sandbox.state import Network, write_record

# Whoever asks whether the network runs holds the lock for microseconds.
LOCK_SECONDS = 10.0
_log = logging.getLogger(__name__)


def run(folder: str, report_to: int) -> int:
    """Serve the practice network in a folder; say once through a descriptor how the start went, and close it.

    Returns the exit code: 0 after SIGTERM, 1 after a failure.
    """
    place = Place(Path(folder))
    _start_clean()
    reported = False

    def ready(network: Network) -> None:
        nonlocal reported
        write_record(place, network)
        reported = True
        send(Report(network=network), report_to)

    try:
        with filelock.FileLock(place.daemon_lock, mode=0o600, timeout=LOCK_SECONDS):
            # Inside, so that a broken installation is reported as well.
            from notebooks_over_ssh.sandbox.server import serve

            asyncio.run(serve(place, ready))
            place.record.unlink(missing_ok=True)
    except BaseException as error:  # noqa: BLE001  # the starter is told of every failure, whatever it is
        _log.exception("the practice network ended")
        if isinstance(error, filelock.Timeout):
            error = Failed(
                "another practice network holds this folder's lock",
            )
        if not reported:
            send(explained(error, place), report_to)
        return 1
    return 0


def _start_clean() -> None:
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
