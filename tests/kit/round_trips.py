"""A TCP proxy that delays all data, and counts the round trips that its clients wait for."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable

from tests.kit.mitm_sshd import AsyncioThread
from tests.kit.sshd import LOOPBACK

READ_BYTES = 64 * 1024
POLL_INTERVAL_S = 0.02


class RoundTripCounter:
    """The proxy, and how many round trips everything took that it has delivered to its clients.

    What a client sends is one round trip later than the last data delivered to it before, and what the server sends is
    as late as the last data delivered to the server before. So a client that needs longer than a round trip for what
    it sends at once counts as one that waits.
    """

    def __init__(self, loop: AsyncioThread, target_port: int) -> None:
        self.count = 0
        """The round trips of the last data delivered to a client."""
        self._delay_s = 0.0
        self._max_count = math.inf
        self._server_count = 0
        self._generation = 0
        self._target_port = target_port
        self._loop = loop
        self._handlers: set[asyncio.Task[None]] = set()
        self.port = loop.run(self._open())

    def restart(self, delay_s: float = 0.0, max_count: float = math.inf) -> None:
        """Count from 0, and delay data by `delay_s` in each direction.

        What a client sends after `max_count` round trips is delivered after the next call only.
        """
        self._generation += 1
        self._delay_s, self._max_count = delay_s, max_count
        self.count = self._server_count = 0

    def close(self) -> None:
        """Stop the proxy and all its connections."""
        self._loop.run(self._close())

    # ---- in the loop ----

    async def _open(self) -> int:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _close(self) -> None:
        self._server.close()
        for handler in list(self._handlers):
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler
        self._handlers.add(handler)
        with contextlib.suppress(OSError, asyncio.CancelledError), contextlib.closing(writer):
            # The client's connect() has returned already; over the delayed path it takes a round trip too.
            self.count += 1
            await asyncio.sleep(2 * self._delay_s)
            server_reader, server_writer = await asyncio.open_connection(LOOPBACK, self._target_port)
            with contextlib.closing(server_writer):
                await asyncio.gather(
                    self._relay(reader, server_writer, lambda: self.count + 1, self._at_server),
                    self._relay(server_reader, writer, lambda: self._server_count, self._at_client),
                )
        self._handlers.discard(handler)

    async def _relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: Callable[[], int],
        deliver: Callable[[int], None],
    ) -> None:
        line: asyncio.Queue[tuple[float, bytes, int, int]] = asyncio.Queue()

        async def write() -> None:
            while True:
                due, data, count, generation = await line.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                while generation == self._generation and count > self._max_count:
                    await asyncio.sleep(POLL_INTERVAL_S)
                if generation == self._generation:
                    deliver(count)
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()

        writing = asyncio.ensure_future(write())
        try:
            while True:
                data = await reader.read(READ_BYTES)
                line.put_nowait((time.monotonic() + self._delay_s, data, number(), self._generation))
                if not data:
                    await writing
                    return
        finally:
            writing.cancel()

    def _at_server(self, count: int) -> None:
        self._server_count = max(self._server_count, count)

    def _at_client(self, count: int) -> None:
        self.count = max(self.count, count)
