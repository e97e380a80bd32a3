"""The debug log: a file with one line for each important protocol event, without secrets.

Modules write to `logging.getLogger(__name__)`. They log names, numbers and algorithms, never typed input,
the requests and replies of programs on the host, or the user's own commands, any of which may contain a secret.
"""

import logging
import os
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
    """Whether the user has enabled the log: with NOTEBOOKS_DEBUG=1, or with `--debug`, which enables Invoke's log."""
    return os.environ.get(VARIABLE, "") not in ("", "0") or logging.getLogger("invoke").isEnabledFor(
        logging.DEBUG
    )


def start() -> Path | None:
    """Start the log in this process and those that it starts; returns the file, None if the log is not enabled.

    Raises OSError if the file cannot be written.
    """
    if not is_enabled():
        return None
    from logging.handlers import RotatingFileHandler

    file = path()
    logger = logging.getLogger("notebooks_over_ssh")
    if not logger.handlers:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        handler = RotatingFileHandler(file, maxBytes=MAX_BYTES, backupCount=1, encoding="utf-8")
        handler.setFormatter(_Formatter("%(asctime)s %(process)d %(name)s: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    # Keeps these records, and Paramiko's, which contain text from peers, from the terminal handler of `--debug`.
    logger.propagate = logging.getLogger("paramiko").propagate = False
    os.environ[VARIABLE] = "1"
    return file


def hide_prompted_secrets() -> None:
    """From now on, keep passwords that Fabric prompts for at the start out of what `--debug` prints.

    Invoke prints the command line's layer of the configuration, which has them (Config.merge in invoke/config.py).
    """
    logging.getLogger("invoke").addFilter(_hide_overrides)


def _hide_overrides(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Overrides:")


class _Formatter(logging.Formatter):
    """Formats each record as one line: text from a peer cannot start another."""

    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record).replace("notebooks_over_ssh.", "", 1), LINE_COLUMNS)
