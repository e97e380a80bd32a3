"""A piece of the way that a test can cut, freeze and close: it passes TCP connections on to a port of this machine."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from notebooks_over_ssh.tunnel.forwarded_connection import RESET
from tests.openssh.network import LOOPBACK
from tests.proofs.impostor import Loop

How = Literal["reset", "end"]


class Relay:
    """The piece of the way. Its port stays the same whatever is done to it."""

    def __init__(self, loop: Loop, target_port: int) -> None:
        self._loop = loop
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._ends: set[_End] = set()
        self._dialling: set[asyncio.Task[None]] = set()
        self.is_frozen = False
        self.is_barred = False
        self.port = 0
        self.turned_away = 0
        """How many have come while it was barred."""
        self.carried = 0
        """How many bytes went through, both ways."""
        self._do(self._open)

    def cut(self, how: How = "reset") -> int:
        """End every connection, at both of its sides; returns how many there were."""

        async def end() -> int:
            ends = list(self._ends)
            for one in ends:
                one.cut(how)
            return len(ends) // 2

        return self._loop.run(end())

    def freeze(self) -> None:
        """Let nothing through any more, and say nothing of it, as a network that has lost its path."""
        self._do(self._freeze)

    def thaw(self) -> None:
        """Let everything through again, first what has waited."""
        self._do(self._thaw)

    def bar(self, how: How = "reset") -> int:
        """End every connection, and those that come from now on as soon as they come; returns how many there were."""
        self.is_barred = True
        return self.cut(how)

    def admit(self) -> None:
        """Take connections again."""
        self.is_barred = False

    def close(self) -> None:
        """End it with all its connections."""
        self.bar()
        self._do(self._close)

    # ---- in the loop ----

    def _do(self, work: Callable[[], Awaitable[None]]) -> None:
        async def done() -> None:
            await work()

        self._loop.run(done())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _End(self), LOOPBACK, 0, backlog=256)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        for task in self._dialling:
            task.cancel()
        await asyncio.gather(*self._dialling, return_exceptions=True)
        assert self._server
        self._server.close()
        for end in list(self._ends):
            end.cut("reset")

    async def _freeze(self) -> None:
        self.is_frozen = True
        for end in self._ends:
            end.hold_still()

    async def _thaw(self) -> None:
        self.is_frozen = False
        for end in list(self._ends):
            end.go_on()

    def came(self, near: "_End") -> None:
        """Somebody has connected."""
        if self.is_barred:
            self.turned_away += 1
            near.cut("reset")
            return
        task = asyncio.get_running_loop().create_task(self._dial(near))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _dial(self, near: "_End") -> None:
        while self.is_frozen:
            await asyncio.sleep(0.02)
        try:
            _, far = await asyncio.get_running_loop().create_connection(
                lambda: _End(self), LOOPBACK, self._target_port
            )
        except OSError:
            near.cut("reset")
            return
        near.other, far.other = far, near
        if near not in self._ends:
            far.cut("reset")
        near.go_on()

    def has(self, end: "_End", is_there: bool) -> None:
        """Keep account of an end."""
        (self._ends.add if is_there else self._ends.discard)(end)


class _End(asyncio.Protocol):
    """One end of a connection: near is who connected, far what it leads to."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.other: _End | None = None
        self._way: Any = None
        self._is_full = False
        self._has_ended = False

    def connection_made(self, transport: Any) -> None:
        self._way = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._relay.has(self, True)
        # Until CPython 3.11.4 the loop begins to read after this, whatever is paused here (gh-103607).
        asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        if self._way.get_extra_info("sockname")[1] == self._relay.port:
            self.hold_still()
            self._relay.came(self)
        elif self._relay.is_frozen:
            self.hold_still()

    def data_received(self, data: bytes) -> None:
        assert self.other, "it reads only once both are there"
        self._relay.carried += len(data)
        self.other._way.write(data)

    def eof_received(self) -> bool:
        self._has_ended = True
        if self.other and not self.other._way.is_closing():
            self.other._way.write_eof()
        return True

    def pause_writing(self) -> None:
        self._is_full = True
        if self.other:
            self.other.hold_still()

    def resume_writing(self) -> None:
        self._is_full = False
        if self.other:
            self.other.go_on()

    def connection_lost(self, error: Exception | None) -> None:
        self._relay.has(self, False)
        if self.other:
            self.other.cut("reset" if error else "end")

    def hold_still(self) -> None:
        """Read nothing."""
        with contextlib.suppress(RuntimeError):
            self._way.pause_reading()

    def go_on(self) -> None:
        """Read, if what was read has anywhere to go."""
        if self.other and not self.other._is_full and not self._relay.is_frozen:
            with contextlib.suppress(RuntimeError):
                self._way.resume_reading()

    def cut(self, how: How) -> None:
        """End it."""
        if self._way is None or self._way.is_closing():
            return
        if how == "reset":
            with contextlib.suppress(OSError):
                self._way.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._way.abort()
        else:
            self._way.close()
