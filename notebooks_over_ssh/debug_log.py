"""The debug log: a file with one line for each protocol event that matters, and without a secret.

Modules write to `logging.getLogger(__name__)`. They log names, numbers and algorithms, never typed input,
the requests and replies of programs on the host, or the user's own commands, any of which may contain a secret.
"""

import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path

from notebooks_over_ssh.util.peer_text import clean

VARIABLE = "NOTEBOOKS_DEBUG"
MAX_BYTES = 2 * 1024 * 1024
"""The size in bytes at which the log is renamed to `debug.log.1`, and a new one started."""
LINE_COLUMNS = 400


def path() -> Path:
    """The file that the log is written to."""
    from platformdirs import user_state_path

    return user_state_path("notebooks-over-ssh") / "debug.log"


def is_enabled() -> bool:
    """Whether the user asked for the log, with NOTEBOOKS_DEBUG=1 or with `--debug`, for which Invoke turns its own log on."""
    return os.environ.get(VARIABLE, "") not in ("", "0") or logging.getLogger("invoke").isEnabledFor(
        logging.DEBUG
    )


def start() -> Path | None:
    """Write the log from now on, also in the processes that this one starts; returns its file, None if it is not enabled.

    Raises OSError if the file cannot be written.
    """
    if not is_enabled():
        return None
    file = path()
    logger = logging.getLogger("notebooks_over_ssh")
    if not logger.handlers:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        handler = RotatingFileHandler(file, maxBytes=MAX_BYTES, backupCount=1, encoding="utf-8")
        handler.setFormatter(_Formatter("%(asctime)s %(process)d %(name)s: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    # Nothing of it, nor what Paramiko repeats of a peer, reaches the terminal through the handler of `--debug`.
    logger.propagate = logging.getLogger("paramiko").propagate = False
    os.environ[VARIABLE] = "1"
    return file


class _Formatter(logging.Formatter):
    """One line for each record: a peer chooses some of the words, and may not begin a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record).replace("notebooks_over_ssh.", "", 1), LINE_COLUMNS)
