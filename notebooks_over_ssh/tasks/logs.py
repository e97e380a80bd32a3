"""logs: print the server's log."""

from collections.abc import Iterator

from notebooks_over_ssh.errors import ConfigError, TaskError
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import connect
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.remote import follow_log, tail_log
from notebooks_over_ssh.tasks.run import Run
from notebooks_over_ssh.terminal import print_line
from notebooks_over_ssh.util.command_hint import command

MAX_LINES = 100_000


def logs(run: Run, lines: str) -> None:
    """Print the last lines of the server's log. Raises a UserError."""
    number = parse_lines(lines)
    connection, host = _find_log(run)
    _print(tail_log(connection, host, number), connection)


def follow(run: Run, lines: str) -> None:
    """Print the last lines of the server's log and every new one until Ctrl-C. Raises a UserError."""
    number = parse_lines(lines)
    connection, host = _find_log(run)
    try:
        _print(follow_log(connection, host, number), connection)
    except KeyboardInterrupt:
        print_line("")


def parse_lines(lines: str) -> int:
    """The value of `--lines`. Raises ConfigError."""
    if not lines.isascii() or not lines.isdigit() or int(lines) > MAX_LINES:
        raise ConfigError(
            f"--lines must be a whole number from 0 to {MAX_LINES}, not {lines!r}",
            hint="leave it out for 50",
        )
    return int(lines)


def _find_log(run: Run) -> tuple[Connection, str | None]:
    """The Connection to a host that has the log, and the name of the server's host if that is another one.

    The log of a job that has ended is on the home folder that its node shares with the host that leads to it.
    """
    session = sessions.find(run.settings)
    connection = connect(run.settings, run.credentials)
    return connection, session.host if isinstance(session, Session) and session.job else None


def _print(lines: Iterator[str], connection: Connection) -> None:
    """Print the lines of the log. Raises TaskError if there is none."""
    try:
        for line in lines:
            print_line(line)
    except FileNotFoundError as error:
        raise TaskError(
            f"there is no log on {connection.label} yet", hint=f"{command('serve')} starts the server"
        ) from error
