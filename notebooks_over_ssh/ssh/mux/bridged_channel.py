"""One channel of a bridge: messages of RFC 4254 on one side, a session or forward of a master on the other."""

import asyncio
import socket
import struct
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import paramiko
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
)

from notebooks_over_ssh.ssh.bootstrap import BOOTSTRAP
from notebooks_over_ssh.ssh.mux import messages
from notebooks_over_ssh.ssh.mux.messages import MessageReader, MuxError
from notebooks_over_ssh.ssh.mux.streams import MasterForward, MasterSession, MasterStreams
from notebooks_over_ssh.ssh.protocol.channel import MAX_DATA_BYTES, SESSION

if TYPE_CHECKING:
    from notebooks_over_ssh.ssh.mux.bridge import Bridge

# bytes that the transport may send before the master takes them
RECEIVE_WINDOW = 1024 * 1024
STDERR = 1  # RFC 4254, section 5.2
EXIT_STATUS = b"exit-status"


class BridgedChannel:
    """Opens with the master's session or forward, and ends with it. Both sides use the transport's number for it."""

    def __init__(self, bridge: "Bridge", number: int, send_window: int, max_packet_size: int) -> None:
        self.number = number
        self._bridge = bridge
        self._send_window = send_window
        self._max_packet_size = min(max_packet_size, MAX_DATA_BYTES)
        self._window_adjusted = asyncio.Event()
        self._streams: MasterStreams | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._unwritten: asyncio.Queue[bytes] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_closed = False

    def open(self, kind: bytes, message: paramiko.Message) -> None:
        """Handle the open request, whose fields follow in the message."""
        if kind == SESSION:
            self._spawn(self._open_session())
        else:
            self._spawn(self._open_forward(message.get_text(), message.get_int()))

    def write(self, data: bytes) -> None:
        """Pass data to the master, in order; b"" is the end."""
        self._unwritten.put_nowait(data)

    def adjust_window(self, size: int) -> None:
        """The transport accepts more data."""
        self._send_window += size
        self._window_adjusted.set()

    def request(self, message: paramiko.Message) -> None:
        """Handle a channel request (RFC 4254, section 5.4)."""
        kind, want_reply = message.get_binary(), message.get_boolean()
        if kind == b"exec":
            self._spawn(self._execute(message.get_text(), want_reply))
        elif want_reply:
            self._send(MSG_CHANNEL_FAILURE)

    def close(self) -> None:
        """End it on both sides."""
        if self._is_closed:
            return
        self._is_closed = True
        # The event loop must forget a descriptor before it is closed, after which another socket may get its number.
        for writer in self._writers:
            writer.transport.abort()
        if self._streams is not None:
            self._streams.close()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self._send(MSG_CHANNEL_CLOSE)
        self._bridge.remove(self)

    async def _open_session(self) -> None:
        # Until the master has started a command, it has not shown that the server grants it a session.
        try:
            self._streams = await self._bridge.open_session()
        except MuxError:
            self._refuse()
        else:
            self._confirm()

    async def _open_forward(self, host: str, port: int) -> None:
        try:
            self._streams = await self._bridge.open(
                MasterForward, lambda streams: streams.open(host, port, self._bridge.timeout_s)
            )
        except MuxError:
            self._refuse()
            return
        self._confirm()
        await self._relay()

    async def _execute(self, command: str, want_reply: bool) -> None:
        if command != BOOTSTRAP:
            assert self._streams is not None
            self._streams.close()
            try:
                self._streams = await self._start(command)
            except MuxError:
                self.close()
                return
        if want_reply:
            self._send(MSG_CHANNEL_SUCCESS)
        await self._relay()

    async def _start(self, command: str) -> MasterSession:
        return await self._bridge.open(
            MasterSession, lambda streams: streams.open(command, self._bridge.timeout_s)
        )

    async def _relay(self) -> None:
        """Relay in both directions until the master ends the session or forward."""
        streams = self._streams
        assert streams is not None
        if self._is_closed:
            streams.close()
            return
        self._spawn(self._relay_input(streams.input))
        outputs = [
            self._spawn(self._relay_output(streams.output, struct.pack(">BI", MSG_CHANNEL_DATA, self.number)))
        ]
        if isinstance(streams, MasterSession):
            header = struct.pack(">BII", MSG_CHANNEL_EXTENDED_DATA, self.number, STDERR)
            outputs.append(self._spawn(self._relay_output(streams.errors, header)))
        await asyncio.wait(outputs)
        self._send(MSG_CHANNEL_EOF)
        await self._relay_exit(streams.control)
        self.close()

    async def _relay_input(self, sock: socket.socket) -> None:
        _, writer = await self._connect(sock)
        while data := await self._unwritten.get():
            writer.write(data)
            await writer.drain()
            self._send(MSG_CHANNEL_WINDOW_ADJUST, struct.pack(">I", len(data)))
        # Not `close`: `abort` fails after that if there was data left (asyncio/selector_events.py).
        writer.write_eof()

    async def _relay_output(self, sock: socket.socket, header: bytes) -> None:
        reader, _ = await self._connect(sock)
        while True:
            while self._send_window <= 0:
                self._window_adjusted.clear()
                await self._window_adjusted.wait()
            # The other output must not use the same part of the window.
            reserved = min(self._send_window, self._max_packet_size)
            self._send_window -= reserved
            data = await reader.read(reserved)
            self.adjust_window(reserved - len(data))
            if not data:
                return
            self._bridge.send(header + struct.pack(">I", len(data)) + data)
            await self._bridge.flush()

    async def _relay_exit(self, control: socket.socket) -> None:
        """Wait for the end of the control connection, and report the exit status."""
        reader, _ = await self._connect(control)
        parser = MessageReader()
        while data := await reader.read(4096):
            for message in parser.receive_data(data):
                if message.type == messages.EXIT_MESSAGE:
                    status = (
                        struct.pack(">I", len(EXIT_STATUS))
                        + EXIT_STATUS
                        + struct.pack(">BI", 0, message.value)
                    )
                    self._send(MSG_CHANNEL_REQUEST, status)

    async def _connect(self, sock: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._is_closed:
            raise EOFError
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        self._writers.append(writer)
        return reader, writer

    def _confirm(self) -> None:
        self._send(
            MSG_CHANNEL_OPEN_SUCCESS, struct.pack(">III", self.number, RECEIVE_WINDOW, self._max_packet_size)
        )

    def _refuse(self) -> None:
        # A master does not report the reason. This one makes the caller try a relay, which needs no forward.
        self._is_closed = True
        self._send(
            MSG_CHANNEL_OPEN_FAILURE, struct.pack(">III", OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED, 0, 0)
        )
        self._bridge.remove(self)

    def _send(self, message_type: int, fields: bytes = b"") -> None:
        self._bridge.send(struct.pack(">BI", message_type, self.number) + fields)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._bridge.spawn(coroutine)
        self._tasks.append(task)
        return task
