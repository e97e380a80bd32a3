"""Answers the programs, which connect to a Unix socket in the sandbox's folder: a request each, as a line of JSON."""

import asyncio
import logging
import socket
import time
from pathlib import Path

import msgspec

from notebooks_over_ssh.sandbox.host import Host
from notebooks_over_ssh.sandbox.paths import SandboxPaths
from notebooks_over_ssh.sandbox.process_io import Reaper
from notebooks_over_ssh.sandbox.toy_slurm import job_processes
from notebooks_over_ssh.sandbox.toy_slurm.commands import Call, Step, Submission, answer
from notebooks_over_ssh.sandbox.toy_slurm.queue import RefusedError
from notebooks_over_ssh.sandbox.toy_slurm.runner import Runner

MAX_REQUEST_BYTES = 256 * 1024
TIMEOUT_S = 10.0
_RETRY_INTERVAL_S = 0.2
_log = logging.getLogger(__name__)


class Request(msgspec.Struct, frozen=True):
    """A call of a program."""

    program: str
    arguments: list[str]
    folder: str
    time_format: str
    job: str


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the program is to do: print, then run a command, or relay its input and output to this connection."""

    output: str = ""
    errors: str = ""
    status: int = 0
    command: list[str] = []
    environment: dict[str, str] = {}
    relays: bool = False


def start_queue(paths: SandboxPaths, reaper: Reaper, listener: socket.socket) -> list[asyncio.Task[None]]:
    """Run the queue and answer the programs that connect to the listener, in tasks, which the caller keeps."""
    runner = Runner(paths, reaper)
    service = Service(runner, paths, reaper)
    tasks = [asyncio.create_task(runner.run()), asyncio.create_task(service.run(listener))]
    for task in tasks:
        task.add_done_callback(_log_failure)
    return tasks


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.error("toy queue: it failed", exc_info=error)


class Service:
    """The programs' side of a running queue."""

    def __init__(self, runner: Runner, paths: SandboxPaths, reaper: Reaper) -> None:
        self._runner = runner
        self._paths = paths
        self._reaper = reaper
        self._connections: set[asyncio.Task[None]] = set()

    async def run(self, listener: socket.socket) -> None:
        """Accept connections, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:
                _log.warning("toy queue: a program was not served: %s", error.strerror)
                await asyncio.sleep(_RETRY_INTERVAL_S)
                continue
            task = loop.create_task(self._serve(connection))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
            task.add_done_callback(_log_failure)

    async def _serve(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        node = None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                request = msgspec.json.decode(await _read_line(connection), type=Request)
                try:
                    if request.program == "sshd":
                        node = self._make_node(request)
                        reply = Reply(relays=True)
                    else:
                        reply = self._answer(request)
                except RefusedError as error:
                    reply = Reply(errors=f"{request.program}: error: {error}\n", status=1)
                await _send(connection, reply)
            if node is not None:
                # A copy, because the connection outlives this task.
                await node.serve(connection.dup())
        except (OSError, ValueError) as error:
            _log.info("toy queue: a program was not served: %s", type(error).__name__)
        finally:
            connection.close()

    def _answer(self, request: Request) -> Reply:
        """The reply to any program but sshd. Raises RefusedError."""
        call = Call(
            request.program,
            request.arguments,
            Path(request.folder),
            time.time(),
            request.time_format,
            request.job,
        )
        match answer(self._runner.queue, call):
            case Step(job, command):
                return Reply(command=command, environment=job_processes.environment(self._paths, job))
            case Submission(job, script, arguments, output):
                job_processes.save_script(self._paths, job, script, arguments)
            case str(output):
                pass
        self._runner.change()
        return Reply(output=output)

    def _make_node(self, request: Request) -> Host:
        """The SSH server that sshd stands for. Raises RefusedError."""
        # Only here, because most sandboxes never need it.
        from notebooks_over_ssh.sandbox.toy_slurm import sshd

        job = sshd.find_job(self._runner.queue, request.job)
        variables = job_processes.variables(job)
        return sshd.make_host(request.arguments, job.node, variables, self._paths, self._reaper)


async def _read_line(connection: socket.socket) -> bytes:
    """The request. Raises OSError, or ValueError for one that is too long or cut short."""
    loop = asyncio.get_running_loop()
    received = b""
    while not received.endswith(b"\n"):
        block = await loop.sock_recv(connection, 65536)
        if not block or len(received) > MAX_REQUEST_BYTES:
            raise ValueError("an invalid request")
        received += block
    return received


async def _send(connection: socket.socket, reply: Reply) -> None:
    await asyncio.get_running_loop().sock_sendall(connection, msgspec.json.encode(reply) + b"\n")
