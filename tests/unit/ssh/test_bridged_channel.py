"""A channel over the streams of a master, which are socket pairs here."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

from paramiko.common import MSG_CHANNEL_CLOSE, MSG_CHANNEL_OPEN_SUCCESS

from notebooks_over_ssh.ssh.mux.bridged_channel import BridgedChannel
from notebooks_over_ssh.ssh.protocol.message import Message


class FakeBridge:
    """Records what a channel sends; its master grants each forward."""

    timeout_s = 1.0

    def __init__(self) -> None:
        own_ends, self.master_ends = zip(*(socket.socketpair() for _ in range(3)), strict=True)
        self.sent: list[int] = []
        names = ("input", "output", "control")
        self._streams = SimpleNamespace(close=self._close, **dict(zip(names, own_ends, strict=True)))
        self._sockets = own_ends

    def _close(self) -> None:
        for sock in self._sockets:
            sock.close()

    async def open(self, kind: type, request: Callable[[Any], None]) -> Any:
        return self._streams

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(coroutine)

    def send(self, payload: bytes) -> None:
        self.sent.append(payload[0])

    async def flush(self) -> None:
        pass

    def remove(self, channel: BridgedChannel) -> None:
        pass


def test_end_with_unwritten_data() -> None:
    """A channel whose input ended while the master did not read is closed like any other, once that has read it."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        bridge: Any = FakeBridge()
        channel = BridgedChannel(bridge, 0, 1_000_000, 32768)
        channel.open(b"direct-tcpip", Message(b"\0\0\0\x09localhost\0\0\0\x50"))
        size = 0
        while not channel._writers or not channel._writers[0].transport.get_write_buffer_size():
            channel.write(bytes(32768))
            size += 32768
            await asyncio.sleep(0)
        channel.write(b"")
        reader, *_ = bridge.master_ends
        reader.setblocking(False)
        while size:
            received = await loop.sock_recv(reader, 65536)
            assert received
            size -= len(received)
        assert await loop.sock_recv(reader, 1) == b""
        channel.close()
        assert (bridge.sent[0], bridge.sent[-1]) == (MSG_CHANNEL_OPEN_SUCCESS, MSG_CHANNEL_CLOSE)
        for sock in bridge.master_ends:
            sock.close()

    asyncio.run(run())
