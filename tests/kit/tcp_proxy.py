"""A TCP proxy to a local port, which a test can cut, freeze and close."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from notebooks_over_ssh.tunnel.forwarded_connection import LINGER_RESET
from tests.kit.mitm_sshd import AsyncioThread
from tests.kit.sshd import LOOPBACK

CutMode = Literal["reset", "end"]


class TcpProxy:
    """The proxy. Its port stays the same."""

    def __init__(self, loop: AsyncioThread, target_port: int) -> None:
        self._loop = loop
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._endpoints: set[_ProxyEnd] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self.is_frozen = False
        self.is_refusing = False
        self.port = 0
        self.refused_count = 0
        """How many connections were reset while `is_refusing`."""
        self.forwarded_bytes = 0
        """How many bytes went through, both ways."""
        self._do(self._open)

    def cut(self, mode: CutMode = "reset") -> int:
        """End every connection, on both sides; returns how many there were."""

        async def endpoint() -> int:
            endpoints = list(self._endpoints)
            for endpoint in endpoints:
                endpoint.cut(mode)
            return len(endpoints) // 2

        return self._loop.run(endpoint())

    def freeze(self) -> None:
        """Pass on no data, without an error, as a network that loses all packets."""
        self._do(self._freeze)

    def unfreeze(self) -> None:
        """Pass on data again, beginning with what arrived meanwhile."""
        self._do(self._unfreeze)

    def refuse(self, mode: CutMode = "reset") -> int:
        """End every connection, and reset new ones; returns how many there were."""
        self.is_refusing = True
        return self.cut(mode)

    def resume(self) -> None:
        """Accept connections again."""
        self.is_refusing = False

    def close(self) -> None:
        """Stop the proxy and all its connections."""
        self.refuse()
        self._do(self._close)

    # ---- in the loop ----

    def _do(self, work: Callable[[], Awaitable[None]]) -> None:
        async def run_work() -> None:
            await work()

        self._loop.run(run_work())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _ProxyEnd(self), LOOPBACK, 0, backlog=256)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        assert self._server
        self._server.close()
        for endpoint in list(self._endpoints):
            endpoint.cut("reset")

    async def _freeze(self) -> None:
        self.is_frozen = True
        for endpoint in self._endpoints:
            endpoint.pause_reading()

    async def _unfreeze(self) -> None:
        self.is_frozen = False
        for endpoint in list(self._endpoints):
            endpoint.resume_reading()

    def on_connect(self, client_end: "_ProxyEnd") -> None:
        """Handle a new client."""
        if self.is_refusing:
            self.refused_count += 1
            client_end.cut("reset")
            return
        task = asyncio.get_running_loop().create_task(self._dial(client_end))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _dial(self, client_end: "_ProxyEnd") -> None:
        while self.is_frozen:
            await asyncio.sleep(0.02)
        try:
            _, server_end = await asyncio.get_running_loop().create_connection(
                lambda: _ProxyEnd(self), LOOPBACK, self._target_port
            )
        except OSError:
            client_end.cut("reset")
            return
        client_end.peer, server_end.peer = server_end, client_end
        if client_end not in self._endpoints:
            server_end.cut("reset")
        client_end.resume_reading()

    def track(self, endpoint: "_ProxyEnd", is_connected: bool) -> None:
        """Add or remove one end of a connection."""
        (self._endpoints.add if is_connected else self._endpoints.discard)(endpoint)


class _ProxyEnd(asyncio.Protocol):
    """One end of a connection: the client's or the server's."""

    def __init__(self, proxy: TcpProxy) -> None:
        self._proxy = proxy
        self.peer: _ProxyEnd | None = None
        self._transport: Any = None
        self._is_write_paused = False
        self._eof_received = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._proxy.track(self, True)
        # Before CPython 3.11.4 the loop starts reading after this callback, even if it pauses reading (gh-103607).
        asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        if self._transport.get_extra_info("sockname")[1] == self._proxy.port:
            self.pause_reading()
            self._proxy.on_connect(self)
        elif self._proxy.is_frozen:
            self.pause_reading()

    def data_received(self, data: bytes) -> None:
        assert self.peer, "reading starts once both ends are connected"
        self._proxy.forwarded_bytes += len(data)
        self.peer._transport.write(data)

    def eof_received(self) -> bool:
        self._eof_received = True
        if self.peer and not self.peer._transport.is_closing():
            self.peer._transport.write_eof()
        return True

    def pause_writing(self) -> None:
        self._is_write_paused = True
        if self.peer:
            self.peer.pause_reading()

    def resume_writing(self) -> None:
        self._is_write_paused = False
        if self.peer:
            self.peer.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._proxy.track(self, False)
        if self.peer:
            self.peer.cut("reset" if error else "end")

    def pause_reading(self) -> None:
        """Stop reading."""
        with contextlib.suppress(RuntimeError):
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read, if the data can be written to the other end."""
        if self.peer and not self.peer._is_write_paused and not self._proxy.is_frozen:
            with contextlib.suppress(RuntimeError):
                self._transport.resume_reading()

    def cut(self, mode: CutMode) -> None:
        """End the connection."""
        if self._transport is None or self._transport.is_closing():
            return
        if mode == "reset":
            with contextlib.suppress(OSError):
                self._transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET
                )
            self._transport.abort()
        else:
            self._transport.close()
