"""logs: what the server wrote."""

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import BadSetting, Failed
from notebooks_over_ssh.jupyter import server
from notebooks_over_ssh.jupyter.connecting import reach
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.prompting import Asking
from notebooks_over_ssh.ssh.remote import followed_lines, log_lines
from notebooks_over_ssh.ssh.remote_files import has_file
from notebooks_over_ssh.terminal import say
from notebooks_over_ssh.util.command_hint import command

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
        raise Failed(
            f"there is no log on {connection.label} yet", hint=f"{command('serve')} starts the server"
        )
    return connection, log
