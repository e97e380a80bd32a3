"""A TCP proxy that adds latency to a port on loopback, without a limit on the throughput.

    python -m benchmarks.latency_proxy PORT ROUND_TRIP_MS

Prints the port that it listens on, and exits at the end of its standard input. It is a process of its own, so that it
does not share an event loop with the client that is measured.
"""

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

LOOPBACK = "127.0.0.1"
READ_BYTES = 64 * 1024
ETHERNET_MSS = 1460

DelayLine = asyncio.Queue[tuple[float, bytes]]


async def read_into_delay_line(
    line: DelayLine, reader: asyncio.StreamReader, connected_at: float, delay_s: float
) -> None:
    """Queue the data with the time at which it is due; data counts as received at `connected_at` or later."""
    while True:
        data = await reader.read(READ_BYTES)
        await line.put((max(connected_at, time.monotonic()) + delay_s, data))
        if not data:
            return


async def write_from_delay_line(line: DelayLine, writer: asyncio.StreamWriter) -> None:
    """Write the queued data when it is due."""
    while True:
        due, data = await line.get()
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if not data:
            writer.write_eof()
            return
        writer.write(data)
        await writer.drain()


async def connect_upstream(port: int) -> socket.socket:
    """Connect with Ethernet's segment size: with loopback's of 64 KiB, Nagle's algorithm would add delays."""
    upstream = socket.socket()
    upstream.setblocking(False)
    upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, ETHERNET_MSS)
    await asyncio.get_running_loop().sock_connect(upstream, (LOOPBACK, port))
    return upstream


def make_handler(
    port: int, round_trip_s: float
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]:
    """The connection handler of a proxy for `port`."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The client's connect() has already returned. With the delay it would have taken a round trip, and the server
        # would see the connection half a round trip later.
        connected_at = time.monotonic() + round_trip_s
        delay_s = round_trip_s / 2
        to_server, to_client = DelayLine(), DelayLine()
        # asyncio cancels the handlers at exit, and the streams of Python 3.11 log that with a traceback.
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.CancelledError):
            reading = asyncio.create_task(read_into_delay_line(to_server, reader, connected_at, delay_s))
            await asyncio.sleep(connected_at + delay_s - time.monotonic())
            server_reader, server_writer = await asyncio.open_connection(sock=await connect_upstream(port))
            with contextlib.closing(server_writer):
                await asyncio.gather(
                    reading,
                    write_from_delay_line(to_server, server_writer),
                    read_into_delay_line(to_client, server_reader, connected_at, delay_s),
                    write_from_delay_line(to_client, writer),
                )

    return handle


async def main(port: int, round_trip_s: float) -> None:
    """Serve until standard input ends."""
    server = await asyncio.start_server(make_handler(port, round_trip_s), LOOPBACK, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]) / 1000))
