"""logs: print the server's log."""

from pathlib import PurePosixPath

from notebooks_over_ssh.errors import ConfigError, TaskError
from notebooks_over_ssh.jupyter import server
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
    connection, log = _find_log(run)
    for line in tail_log(connection, log, number):
        print_line(line)


def follow(run: Run, lines: str) -> None:
    """Print the last lines of the server's log and every new one until Ctrl-C. Raises a UserError."""
    number = parse_lines(lines)
    connection, log = _find_log(run)
    try:
        for line in follow_log(connection, log, number):
            print_line(line)
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


def _find_log(run: Run) -> tuple[Connection, str]:
    """The Connection to a host that has the log, and its path.

    The log of a job that has ended is on the home folder that its node shares with the host that leads to it.
    """
    session = sessions.find(run.settings)
    connection = connect(run.settings, run.credentials)
    state = server.get_state(connection)
    if isinstance(session, Session) and session.job and session.host != state.host:
        log = PurePosixPath(state.log)
        return connection, str(log.parent.with_name(session.host) / log.name)
    if not state.has_log:
        raise TaskError(
            f"there is no log on {connection.label} yet", hint=f"{command('serve')} starts the server"
        )
    return connection, state.log
