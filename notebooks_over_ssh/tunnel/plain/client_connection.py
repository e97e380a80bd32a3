"""One client of the plain port: does the I/O of an HTTPRelay."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Coroutine
from typing import Any

from notebooks_over_ssh.errors import UserError
from notebooks_over_ssh.tunnel.forwarded_connection import LINGER_RESET
from notebooks_over_ssh.tunnel.plain.http_relay import HTTPRelay
from notebooks_over_ssh.tunnel.plain.server_connection import BLOCK_BYTES, ServerConnector

HEAD_TIMEOUT_S = 20.0
IDLE_TIMEOUT_S = 300.0
# A client that has ended its data, and whose request waits for the tunnel, has probably given up.
ABANDONED_TIMEOUT_S = 10.0
# How long to read on after the last response, so that closing does not discard it (RFC 9112, section 9.6).
LINGER_TIMEOUT_S = 2.0

_log = logging.getLogger(__name__)


class ClientConnection:
    """A client's connection, and the server connection that serves it."""

    def __init__(
        self,
        connector: ServerConnector,
        relay: HTTPRelay,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._connector = connector
        self._relay = relay
        self._reader = reader
        self._client = writer
        self._server: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_connecting = False
        self._closing = asyncio.Event()
        self._relayed = asyncio.Event()
        self._phase: tuple[object, ...] = ()
        self._phase_began_at = 0.0

    async def run(self) -> None:
        """Serve the client until either side closes the connection."""
        self._start(self._read_client())
        try:
            await self._closing.wait()
            await self._end_client()
        finally:
            self._cancel_tasks()
            if self._server is not None:
                self._server.close()
            self._client.transport.abort()

    def check_timeout(self, now: float) -> None:
        """Close the connection if the client has been idle, or has been sending a request head, for too long."""
        relay = self._relay
        phase = (relay.is_idle, bool(relay.buffered_bytes), relay.requests)
        if phase != self._phase:
            self._phase, self._phase_began_at = phase, now
        elif relay.is_idle:
            timeout_s = HEAD_TIMEOUT_S if relay.buffered_bytes else IDLE_TIMEOUT_S
            if now - self._phase_began_at > timeout_s:
                relay.time_out()
                self._send()

    async def _read_client(self) -> None:
        while data := await _read(self._reader):
            self._relay.receive_from_client(data)
            self._send()
            if self._server is not None:
                await _drain(self._server)
            while self._relay.buffered_bytes >= BLOCK_BYTES:
                self._relayed.clear()
                await self._relayed.wait()
        self._relay.receive_from_client(b"")
        self._send()
        await asyncio.sleep(ABANDONED_TIMEOUT_S)
        if self._is_connecting:
            self._closing.set()

    async def _use_server(self) -> None:
        try:
            reader, writer, exchange = await self._connector.connect()
        except UserError as error:
            self._is_connecting = False
            self._relay.fail(f"{error}; {error.hint}" if error.hint else str(error))
            self._send()
            return
        self._is_connecting = False
        self._server = writer
        self._relay.server_connected(exchange)
        self._send()
        while self._server is writer:
            data = await _read(reader)
            self._relay.receive_from_server(data)
            self._send()
            await _drain(self._client)
            if not data:
                return

    def _send(self) -> None:
        """Do what the relay asks for after it has processed data."""
        relay = self._relay
        self._relayed.set()
        if relay.to_client:
            self._client.write(bytes(relay.to_client))
            relay.to_client.clear()
        if self._server is not None:
            if relay.to_server:
                self._server.write(bytes(relay.to_server))
                relay.to_server.clear()
            if not relay.has_server:
                self._server.close()
                self._server = None
        if relay.is_closing:
            self._closing.set()
        elif relay.needs_server and not self._is_connecting:
            self._is_connecting = True
            self._start(self._use_server())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.debug("plain port: %s in a connection", type(error).__name__)
            self._closing.set()

    def _cancel_tasks(self) -> list[asyncio.Task[None]]:
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        return tasks

    async def _end_client(self) -> None:
        """Send what is left to the client, or reset its connection."""
        await asyncio.gather(*self._cancel_tasks(), return_exceptions=True)
        if self._relay.is_aborted:
            sock = self._client.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            return
        with contextlib.suppress(OSError, TimeoutError):
            self._client.transport.set_write_buffer_limits(0)  # `drain` waits until everything is sent
            await self._client.drain()
            self._client.write_eof()
            async with asyncio.timeout(LINGER_TIMEOUT_S):
                while await _read(self._reader):
                    pass


async def _read(reader: asyncio.StreamReader) -> bytes:
    """The next data; b"" at its end, and if the connection was lost."""
    try:
        return await reader.read(BLOCK_BYTES)
    except OSError:
        return b""


async def _drain(writer: asyncio.StreamWriter) -> None:
    """Wait until the writer takes more; returns at once if its connection was lost, which reading reports."""
    with contextlib.suppress(OSError):
        await writer.drain()
