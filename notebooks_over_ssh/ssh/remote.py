"""Runs the programs of `remote_scripts/` on the host.

What is sent to run one is in program_input.py.
"""

import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
import paramiko

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.ssh.bootstrap import BOOTSTRAP
from notebooks_over_ssh.ssh.confirmation import CONFIRMATION, ConfirmationRequest, find_request
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.environment import AnyPython, Environment
from notebooks_over_ssh.ssh.program_input import ANY_PYTHON, build_request, script
from notebooks_over_ssh.ssh.program_session import (
    close,
    open_bootstrap_session,
    open_channel,
    send,
    send_last,
    wait_for_exec,
)
from notebooks_over_ssh.ssh.queries import QUERIES, connection_lost_error, run_query

# The output of a program, the reply in it, and one line of a log.
MAX_OUTPUT_BYTES = 4 * 1024 * 1024
MAX_REPLY_BYTES = 512 * 1024
MAX_LOG_LINE_BYTES = 64 * 1024
MAX_LINE_LENGTH = 300
EXIT_TIMEOUT_S = 2
NO_EXIT_STATUS = -1  # of Paramiko
_log = logging.getLogger(__name__)


def run_program(
    connection: Connection,
    name: str,
    parameters: dict[str, Any],
    *,
    environment: AnyPython | Environment = ANY_PYTHON,
    timeout_s: float,
    confirm: Callable[[ConfirmationRequest], None] | None = None,
) -> dict[str, Any]:
    """Run `remote_scripts/NAME.py` on the host; returns its reply, an unvalidated dict that has at least `problem`.

    It runs with the Python of `environment`. `parameters` appear in no argument list and no environment variable.
    If the program waits for a confirmation, `confirm` is called, and the program continues when it returns. If this
    process ends before, the program exits and has changed nothing. A program of QUERIES is run again if the connection
    was lost with the process whose login it uses.
    Raises ConnectError if the connection is lost, RemoteError if there is no reply within `timeout_s` seconds.
    """
    run = partial(_run_program, connection, name, parameters, environment, timeout_s, confirm)
    return run_query(connection, run) if name in QUERIES else run()


def _run_program(
    connection: Connection,
    name: str,
    parameters: dict[str, Any],
    environment: AnyPython | Environment,
    timeout_s: float,
    confirm: Callable[[ConfirmationRequest], None] | None,
) -> dict[str, Any]:
    marker = secrets.token_hex(16)
    command, stdin = build_request(marker, name, parameters, environment)
    started_at = time.monotonic()
    _log.debug("%s: %s starts", connection.original_host, name)
    open_session = open_bootstrap_session if environment == ANY_PYTHON else Connection.create_session
    channel = open_channel(connection, open_session, command)
    output = _communicate(connection, channel, stdin, timeout_s, marker, confirm)
    reply = parse_reply(connection, marker, output)
    _log.debug(
        "%s: %s ended after %.2f s, %d characters, problem %r",
        connection.original_host,
        name,
        time.monotonic() - started_at,
        len(output),
        reply["problem"],
    )
    return reply


def list_environments(connection: Connection, directory: str, *, timeout_s: float) -> dict[str, Any]:
    """The names of the host's environments (`alternatives`), with that of the project in `directory`.

    `reason` is the system of modules that it has, or "". Unvalidated, and raises, like `run_program`.
    """
    marker = secrets.token_hex(16)
    stdin = script("environments.sh", "list_environments.sh") + Environment(directory=directory).header(
        marker
    )

    def query() -> dict[str, Any]:
        channel = open_channel(connection, Connection.create_session, BOOTSTRAP)
        return parse_reply(
            connection, marker, _communicate(connection, channel, stdin, timeout_s, marker, None)
        )

    return run_query(connection, query)


def tail_log(connection: Connection, host: str | None, number: int) -> Iterator[str]:
    """Yield the last lines of the server's log. Raises FileNotFoundError if there is none, ConnectError.

    `host` is the name of the server's host, if that is another one that has the same home folder.
    """
    return _stream_log(connection, {"host": host, "lines": number, "follow": False})


def follow_log(connection: Connection, host: str | None, number: int) -> Iterator[str]:
    """As `tail_log`, then each new line."""
    return _stream_log(connection, {"host": host, "lines": number, "follow": True})


def _stream_log(connection: Connection, parameters: dict[str, Any]) -> Iterator[str]:
    channel, lines = run_query(connection, partial(_open_log, connection, parameters))
    try:
        yield from lines
        if channel.exit_status == NO_EXIT_STATUS and not connection.is_connected:
            raise connection_lost_error(connection)
    finally:
        close(channel)


def _open_log(connection: Connection, parameters: dict[str, Any]) -> tuple[paramiko.Channel, Iterator[str]]:
    """The channel to the program that prints the log, and the log's lines."""
    marker = secrets.token_hex(16)
    command, stdin = build_request(marker, "tail_log", parameters)
    channel = open_channel(connection, open_bootstrap_session, command)
    try:
        send(channel, connection.transport.input_prefix + stdin)
        wait_for_exec(connection, channel)
        lines = _lines(channel)
        output = "".join(f"{line}\n" for line in _read_until_reply(marker, lines))
        if parse_reply(connection, marker, f"\n{output}")["problem"]:
            raise FileNotFoundError
    except BaseException:
        close(channel)
        raise
    return channel, lines


def _read_until_reply(marker: str, lines: Iterator[str]) -> Iterator[str]:
    """Read up to the program's reply; returns the last lines read."""
    last: deque[str] = deque(maxlen=10)
    for line in lines:
        last.append(line)
        if line.startswith(f"{marker} "):
            break
    return iter(last)


def _lines(channel: paramiko.Channel) -> Iterator[str]:
    """Yield the lines that the channel receives, each truncated to MAX_LOG_LINE_BYTES."""
    line = b""
    while block := channel.recv(65536):
        end_of_line, *next_lines = block.split(b"\n")
        line += end_of_line[: MAX_LOG_LINE_BYTES + 1 - len(line)]
        for next_line in next_lines:
            yield _truncate(line)
            line = next_line
    if line:
        yield _truncate(line)


def _truncate(line: bytes) -> str:
    end = " […]" if len(line) > MAX_LOG_LINE_BYTES else ""
    return line[:MAX_LOG_LINE_BYTES].decode("utf-8", "replace") + end


def _communicate(
    connection: Connection,
    channel: paramiko.Channel,
    stdin: bytes,
    timeout_s: float,
    marker: str,
    confirm: Callable[[ConfirmationRequest], None] | None,
) -> str:
    deadline = time.monotonic() + timeout_s
    output = bytearray()
    try:
        channel.settimeout(timeout_s)
        send_first = send if confirm else send_last
        send_first(channel, connection.transport.input_prefix + stdin)
        wait_for_exec(connection, channel)
        while len(output) < MAX_OUTPUT_BYTES:
            channel.settimeout(max(0.001, deadline - time.monotonic()))
            block = channel.recv(65536)
            if not block:
                # Until then the session counts (MaxSessions in sshd_config(5)), and the next one could be refused.
                channel.status_event.wait(EXIT_TIMEOUT_S)
                break
            output += block
            if confirm is not None and (request := find_request(output, marker)):
                confirm(request)
                confirm = None
                send_last(channel, CONFIRMATION)
    except TimeoutError as error:
        raise RemoteError(
            f"{connection.original_host} did not reply within {timeout_s:.0f} s",
            hint="try again, or try another host with --host: this one may be overloaded",
            detail=_last_lines(output.decode("utf-8", "replace")),
            source=connection.original_host,
        ) from error
    finally:
        close(channel)
    if not channel.exit_status_ready() and not connection.is_connected:
        raise connection_lost_error(connection)
    return output.decode("utf-8", "replace")


def parse_reply(connection: Connection, marker: str, output: str) -> dict[str, Any]:
    """The reply in the output of a program. Raises RemoteError if there is none, ConnectError if that was lost."""
    _, separator, rest = output.rpartition(f"\n{marker} ")
    if separator:
        first, _, rest_of_output = rest.partition("\n")
        # `refuse` in enter_environment.sh: the problem and what it is about, then the alternatives and a log.
        if not first.startswith("{"):
            problem, _, reason = first.strip().partition(" ")
            lines = rest_of_output.split("\n")[:-1]
            return {
                "problem": problem,
                "reason": reason,
                "alternatives": sorted({line for line in lines if line and not line.startswith("\t")}),
                "log": [line[1:] for line in lines if line.startswith("\t")],
            }
        # msgspec rejects lone surrogates (RFC 8259, section 8.2), and deep nesting with a RecursionError.
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            reply = msgspec.json.decode(first[:MAX_REPLY_BYTES], type=dict[str, Any])
            if isinstance(reply.get("problem"), str) and "asks" not in reply:
                return reply
    if not connection.is_connected:
        raise connection_lost_error(connection)
    raise RemoteError(
        f"{connection.original_host} sent no valid reply",
        hint="check the start-up files of your login shell on the host, whose output is above",
        detail=_last_lines(output),
        source=connection.original_host,
    )


def _last_lines(output: str) -> tuple[str, ...]:
    return tuple(line[:MAX_LINE_LENGTH] for line in output[-20_000:].strip().splitlines()[-10:])
