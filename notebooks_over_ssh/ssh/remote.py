"""Runs a program of `integration/remote_scripts/` on the host.

A login shell may be anything, so it is given nothing to understand but one line without a special character:
what is to run travels on standard input, and so does everything that it must know.
"""

import contextlib
import json
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
import paramiko

from notebooks_over_ssh.errors import ConnectError, RemoteError
from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.protocol.transport import request_exec, wait_for_exec_reply

# `read` needs no program and takes no byte beyond a line (POSIX.1-2017, read), so the rest is left to the script.
# Without "!", which csh expands within quotes, and with no line break, which it does not allow there.
BOOTSTRAP = (
    'exec /bin/sh -c \'n=$(printf "\\nx"); n=${n%x}; s=;'
    ' while IFS= read -r l && [ "$l" != "#end" ]; do s=$s$l$n; done; eval "$s"\''
)
END_OF_SCRIPT = "#end"
# In the order in which they import each other.
SHARED_MODULES = (
    *("common", "process_tree", "jupyter_traits", "insecure_settings"),
    *("exposure", "jupyter_config", "server_state"),
)
# In bytes: of all that the host prints, of the answer in it, and of a line of a log.
MAX_OUTPUT_BYTES = 4 * 1024 * 1024
MAX_REPLY_BYTES = 512 * 1024
MAX_LOG_LINE_BYTES = 64 * 1024
MAX_LINE_LENGTH = 300
_log = logging.getLogger(__name__)
CONFIRMATION = b"go\n"
"""The word that a program which asks waits for; host.py has it too."""


def run_program(
    connection: Connection,
    name: str,
    parameters: dict[str, Any],
    *,
    environment: str = "",
    activate: str = "",
    timeout_s: float,
    confirm: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Run `scripts/NAME.py` on the host and return its answer, a dict with at least `problem`.

    It runs in the environment named or prepared by `activate`, else with any Python that the host has. Nothing of
    `parameters` reaches an argument list or an environment. The answer is unchecked: its reader types it.
    A program that asks before it does what must be on record here gets its word once `confirm`, which is called with
    the name that the host gives itself, has returned; if this process ends before, the program ends with nothing done.
    Raises ConnectError when the connection is lost, RemoteError when no answer comes within `timeout_s` seconds.
    """
    marker = secrets.token_hex(16)
    command, stdin = build_request(marker, name, parameters, environment=environment, activate=activate)
    began = time.monotonic()
    _log.debug("%s: %s starts", connection.original_host, name)
    output = _communicate(connection, command, stdin, timeout_s, marker, confirm)
    reply = _parse_reply(connection, marker, output)
    _log.debug(
        "%s: %s ended after %.2f s, %d characters, problem %r",
        connection.original_host,
        name,
        time.monotonic() - began,
        len(output),
        reply["problem"],
    )
    return reply


def build_request(
    marker: str, name: str, parameters: dict[str, Any], *, environment: str, activate: str
) -> tuple[str, bytes]:
    """What the login shell is given, and what standard input is, to run `scripts/NAME.py`."""
    bootstrap = script("bootstrap.sh")
    header = f"{marker}\n{environment}\n{activate}\n".encode()
    body = {
        "marker": marker,
        "parameters": parameters,
        "modules": [(module, _source(f"{module}.py")) for module in (*SHARED_MODULES, name)],
    }
    return BOOTSTRAP, bootstrap + header + json.dumps(body).encode() + b"\n"


def tail_log(connection: Connection, log: str, number: int) -> Iterator[str]:
    """The last lines of a file on the host. Raises ConnectError."""
    return _stream(connection, {"log": log, "lines": number, "follow": False})


def follow_log(connection: Connection, log: str, number: int) -> Iterator[str]:
    """The last lines of a file on the host, and every new one as it comes. Raises ConnectError."""
    return _stream(connection, {"log": log, "lines": number, "follow": True})


def _stream(connection: Connection, parameters: dict[str, Any]) -> Iterator[str]:
    marker = secrets.token_hex(16)
    command, stdin = build_request(marker, "tail_log", parameters, environment="", activate="")
    channel = _open_channel(connection, command)
    try:
        channel.sendall(stdin)
        _wait_for_exec(connection, channel)
        lines = _lines(channel)
        before = "".join(f"{line}\n" for line in _read_reply_lines(marker, lines))
        _parse_reply(connection, marker, f"\n{before}")
        yield from lines
    finally:
        channel.close()


def _read_reply_lines(marker: str, lines: Iterator[str]) -> Iterator[str]:
    """The last of the lines that come before the answer, and the answer."""
    last: deque[str] = deque(maxlen=10)
    for line in lines:
        last.append(line)
        if line.startswith(f"{marker} "):
            break
    return iter(last)


def _lines(channel: paramiko.Channel) -> Iterator[str]:
    """What the channel brings, line by line; of a line beyond MAX_LOG_LINE_BYTES the rest is left out."""
    rest = b""
    while block := channel.recv(65536):
        first, *rest_lines = block.split(b"\n")
        rest += first[: MAX_LOG_LINE_BYTES + 1 - len(rest)]
        for line in rest_lines:
            yield _truncate(rest)
            rest = line
    if rest:
        yield _truncate(rest)


def _truncate(line: bytes) -> str:
    end = " […]" if len(line) > MAX_LOG_LINE_BYTES else ""
    return line[:MAX_LOG_LINE_BYTES].decode("utf-8", "replace") + end


def script(name: str) -> bytes:
    """A script for BOOTSTRAP, up to the line that ends it."""
    return f"{_source(name)}{END_OF_SCRIPT}\n".encode()


@cache
def _source(name: str) -> str:
    return (files("notebooks_over_ssh") / "remote_scripts" / name).read_text(encoding="utf-8")


def _open_channel(connection: Connection, command: str) -> paramiko.Channel:
    try:
        channel: paramiko.Channel = connection.create_session()
        channel.set_combine_stderr(True)
        request_exec(channel, command)
    except FAILURES as error:
        raise _connection_lost_error(connection) from error
    return channel


def _wait_for_exec(connection: Connection, channel: paramiko.Channel) -> None:
    try:
        wait_for_exec_reply(channel, connection.timeout_s)
    except TimeoutError as error:
        raise connection.timeout_error() from error


def _communicate(
    connection: Connection,
    command: str,
    stdin: bytes,
    timeout_s: float,
    marker: str,
    confirm: Callable[[str], None] | None,
) -> str:
    deadline = time.monotonic() + timeout_s
    channel = _open_channel(connection, command)
    output = bytearray()
    try:
        channel.settimeout(timeout_s)
        try:
            channel.sendall(stdin)
            if confirm is None:
                channel.shutdown_write()
        except OSError:
            pass  # it ended before it read all; what it printed says why
        _wait_for_exec(connection, channel)
        while len(output) < MAX_OUTPUT_BYTES:
            channel.settimeout(max(0.001, deadline - time.monotonic()))
            block = channel.recv(65536)
            if not block:
                break
            output += block
            if confirm is not None and (host := _host_awaiting_confirmation(output, marker)):
                confirm(host)
                confirm = None
                with contextlib.suppress(OSError):  # it has ended; its answer says why
                    channel.sendall(CONFIRMATION)
                    channel.shutdown_write()
    except TimeoutError as error:
        raise RemoteError(
            f"{connection.original_host} did not answer within {timeout_s:.0f} s",
            hint="run it again; when that does not help, the host may be overloaded: try another with --host",
            detail=_last_lines(output.decode("utf-8", "replace")),
            source=connection.original_host,
        ) from error
    finally:
        channel.close()
    if not channel.exit_status_ready() and not connection.is_connected:
        raise _connection_lost_error(connection)
    return output.decode("utf-8", "replace")


def _host_awaiting_confirmation(output: bytearray, marker: str) -> str:
    """The name of the host whose program asks for the word to go on (host.py); "" where it does not ask."""
    for line in bytes(output).split(b"\n")[:-1]:
        if line.startswith(f"{marker} {{".encode()):
            with contextlib.suppress(ValueError, RecursionError):
                fields = json.loads(line.partition(b" ")[2])
                if fields.get("asks") is True and isinstance(fields.get("host"), str):
                    return str(fields["host"])
    return ""


def _parse_reply(connection: Connection, marker: str, output: str) -> dict[str, Any]:
    _, separator, rest = output.rpartition(f"\n{marker} ")
    if separator:
        first, _, rest_of_output = rest.partition("\n")
        if not first.startswith("{"):  # bootstrap.sh: a word, then what was found instead, a line each
            return {
                "problem": first.strip(),
                "alternatives": sorted({*rest_of_output.split("\n")[:-1]} - {""}),
            }
        # It refuses lone surrogates (RFC 8259, section 8.2), as well as a nesting that no answer of ours has.
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            reply = msgspec.json.decode(first[:MAX_REPLY_BYTES])
            if isinstance(reply, dict) and isinstance(reply.get("problem"), str) and "asks" not in reply:
                return reply
    if not connection.is_connected:
        raise _connection_lost_error(connection)
    raise RemoteError(
        f"{connection.original_host} gave no answer that makes sense",
        hint="look at what it printed, above; a start-up file of your login shell may be in the way",
        detail=_last_lines(output),
        source=connection.original_host,
    )


def _last_lines(output: str) -> tuple[str, ...]:
    return tuple(line[:MAX_LINE_LENGTH] for line in output[-20_000:].strip().splitlines()[-10:])


def _connection_lost_error(connection: Connection) -> ConnectError:
    return ConnectError(
        f"the connection to {connection.original_host} was lost",
        hint="run it again; what was begun is found and finished",
    )
