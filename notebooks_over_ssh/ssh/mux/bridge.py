"""Serves the connection protocol (RFC 4254) by sessions and forwards of an OpenSSH master.

A master also offers to relay the protocol itself (MUX_C_PROXY). OpenSSH 9.2 then ends with the whole connection when a
client leaves after a channel that was refused, so only requests are used here that `ssh` itself makes.
"""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import paramiko
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_GLOBAL_REQUEST,
    MSG_REQUEST_FAILURE,
)

from notebooks_over_ssh.ssh.bootstrap import BOOTSTRAP, END_OF_SCRIPT
from notebooks_over_ssh.ssh.mux.bridged_channel import BridgedChannel
from notebooks_over_ssh.ssh.mux.client import MuxClient
from notebooks_over_ssh.ssh.mux.messages import MuxError, MuxRefusal
from notebooks_over_ssh.ssh.mux.streams import MasterForward, MasterSession, MasterStreams
from notebooks_over_ssh.ssh.mux.transport import frame
from notebooks_over_ssh.ssh.protocol.message import Message
from notebooks_over_ssh.ssh.protocol.packet_encryption import MAX_PACKET_BYTES

_log = logging.getLogger(__name__)

Streams = TypeVar("Streams", MasterSession, MasterForward)
ECHO = f"exec cat\n{END_OF_SCRIPT}\n".encode()


class Bridge:
    """The peer of a MuxTransport; runs in a thread of its own until that closes its socket, or the master ends."""

    def __init__(self, sock: socket.socket, path: Path, timeout_s: float, session: MasterSession) -> None:
        """`timeout_s` is for the answer to each request; in `session`, BOOTSTRAP waits for its input."""
        self.path = path
        self.timeout_s = timeout_s
        self._socket = sock
        self._first_session: MasterSession | None = session
        self._channels: dict[int, BridgedChannel] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: set[MasterStreams] = set()
        self._has_ended = False
        self._echo: asyncio.StreamWriter | None = None
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name="bridge to a master", daemon=True
        )

    def start(self) -> None:
        """Serve the socket."""
        self._thread.start()

    def send(self, payload: bytes) -> None:
        """Send a packet to the transport."""
        self._writer.write(frame(payload))

    async def flush(self) -> None:
        """Wait while the transport does not take more."""
        await self._writer.drain()

    def remove(self, channel: BridgedChannel) -> None:
        """Forget a channel that has ended."""
        self._channels.pop(channel.number, None)

    def spawn(self, coroutine: Any) -> asyncio.Task[None]:
        """Run it until the bridge ends; an error of a socket ends only the coroutine."""

        async def run() -> None:
            with contextlib.suppress(OSError, EOFError, MuxError):
                await coroutine

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def open_session(self) -> MasterSession:
        """A session in which BOOTSTRAP waits for its input. Raises MuxError."""
        session, self._first_session = self._first_session, None
        return session or await self.open(
            MasterSession, lambda streams: streams.open(BOOTSTRAP, self.timeout_s)
        )

    async def open(self, kind: type[Streams], request: Callable[[Streams], None]) -> Streams:
        """The streams once the master has granted the request; waits in another thread. Raises MuxError."""

        def work() -> Streams:
            streams = kind(self.path)
            self._opening.add(streams)
            try:
                if self._has_ended:
                    streams.close()
                request(streams)
            finally:
                self._opening.discard(streams)
            return streams

        return await asyncio.to_thread(work)

    async def _serve(self) -> None:
        self._reader, self._writer = await asyncio.open_unix_connection(
            sock=self._socket, limit=2 * MAX_PACKET_BYTES
        )
        watch: MuxClient | None = None
        try:
            watch = await asyncio.to_thread(MuxClient, self.path)
            ended = asyncio.ensure_future(_end_of(watch.socket))
            serving = asyncio.ensure_future(self._read_packets())
            await asyncio.wait((ended, serving), return_when=asyncio.FIRST_COMPLETED)
            for future in (ended, serving):
                future.cancel()
            for error in await asyncio.gather(ended, serving, return_exceptions=True):
                if isinstance(error, Exception) and not isinstance(error, OSError | EOFError):
                    _log.debug("the bridge to %s has failed: %r", self.path, error)
        except MuxError:
            pass  # it has ended since
        finally:
            self._has_ended = True
            self._writer.close()
            for streams in (*self._opening, *filter(None, (self._first_session,))):
                streams.close()
            for channel in list(self._channels.values()):
                channel.close()
            for task in list(self._tasks):
                task.cancel()
            if watch is not None:
                watch.close()

    async def _read_packets(self) -> None:
        while True:
            size = int.from_bytes(await self._reader.readexactly(4), "big")
            if not 2 <= size <= MAX_PACKET_BYTES:
                return
            packet = await self._reader.readexactly(size)
            self._handle(packet[1], Message(packet[2:]))

    def _handle(self, message_type: int, message: paramiko.Message) -> None:
        if message_type == MSG_CHANNEL_OPEN:
            kind = message.get_binary()
            number, window, max_packet = message.get_int(), message.get_int(), message.get_int()
            channel = BridgedChannel(self, number, window, max_packet)
            self._channels[number] = channel
            channel.open(kind, message)
        elif message_type == MSG_GLOBAL_REQUEST:
            self.spawn(self._answer_keepalive())
        else:
            channel_ = self._channels.get(message.get_int())
            if channel_ is None:
                return
            if message_type == MSG_CHANNEL_DATA:
                channel_.write(message.get_binary())
            elif message_type == MSG_CHANNEL_WINDOW_ADJUST:
                channel_.adjust_window(message.get_int())
            elif message_type == MSG_CHANNEL_EOF:
                channel_.write(b"")
            elif message_type == MSG_CHANNEL_REQUEST:
                channel_.request(message)
            elif message_type == MSG_CHANNEL_CLOSE:
                channel_.close()

    async def _answer_keepalive(self) -> None:
        """Answer when the server has: by a program that echoes, or by refusing a session for it."""
        if self._echo is None:
            try:
                session = await self.open_session()
            except MuxRefusal:
                self.send(bytes((MSG_REQUEST_FAILURE,)))
                return
            except MuxError:
                return
            _, self._echo = await asyncio.open_unix_connection(sock=session.input)
            self._echo.write(ECHO)
            self.spawn(self._read_echo(session))
        self._echo.write(b"\n")

    async def _read_echo(self, session: MasterSession) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=session.output)
        try:
            while await reader.read(4096):
                self.send(bytes((MSG_REQUEST_FAILURE,)))
        finally:
            writer.transport.abort()
            if self._echo is not None:
                self._echo.transport.abort()
                self._echo = None
            session.close()


async def _end_of(sock: socket.socket) -> None:
    """Wait until the peer closes the socket."""
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    while await loop.sock_recv(sock, 4096):
        pass
