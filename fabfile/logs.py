"""logs: what the server wrote."""

from fabfile.errors import BadSetting, Failed
from fabfile.notebooks import server
from fabfile.notebooks.reach import reach
from fabfile.settings import Settings
from fabfile.ssh.asking import Asking
from fabfile.ssh.checks import has_file
from fabfile.ssh.connection import Connection
from fabfile.ssh.remote import followed_lines, log_lines
from fabfile.terminal import say

MOST_LINES = 100_000


def logs(settings: Settings, asking: Asking, lines: str) -> None:
    """Print the last lines of the server's log. Raises a Problem."""
    number = _checked(lines)
    connection, log = _log(settings, asking)
    for line in log_lines(connection, log, number):
        say(line)


def follow(settings: Settings, asking: Asking, lines: str) -> None:
    """Print the last lines of the server's log and every new one until Ctrl-C. Raises a Problem."""
    number = _checked(lines)
    connection, log = _log(settings, asking)
    try:
        for line in followed_lines(connection, log, number):
            say(line)
    except KeyboardInterrupt:
        say("")


def _checked(lines: str) -> int:
    if not lines.isascii() or not lines.isdigit() or int(lines) > MOST_LINES:
        raise BadSetting(
            f"--lines must be a whole number from 0 to {MOST_LINES}, not {lines!r}",
            hint="leave it out for 50",
        )
    return int(lines)


def _log(settings: Settings, asking: Asking) -> tuple[Connection, str]:
    connection = reach(settings, asking)
    log = server.state(connection).log
    if not has_file(connection, log):
        raise Failed(f"there is no log on {connection.label} yet", hint="start the server: serve")
    return connection, log
