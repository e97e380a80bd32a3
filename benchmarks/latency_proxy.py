"""A long line in front of a TCP server on loopback: every byte comes later by half a round trip, none comes slower.

    latency_proxy.py TARGET_PORT ROUND_TRIP_MS

Prints the port that it listens on, and ends with its standard input. It runs as a process of its own, so that what
is measured does not wait for it.
"""

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

LOOPBACK = "127.0.0.1"
BLOCK = 64 * 1024
ETHERNET_SEGMENT = 1460


Line = asyncio.Queue[tuple[float, bytes]]


async def read_into_delay_line(
    line: Line, reader: asyncio.StreamReader, begin: float, delay_s: float
) -> None:
    """Put what the reader gets on the line, due so much later; nothing is taken for read before `begin`."""
    while True:
        block = await reader.read(BLOCK)
        await line.put((max(begin, time.monotonic()) + delay_s, block))
        if not block:
            return


async def write_from_delay_line(line: Line, writer: asyncio.StreamWriter) -> None:
    """Write what is on the line when it is due."""
    while True:
        due, block = await line.get()
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if not block:
            writer.write_eof()
            return
        writer.write(block)
        await writer.drain()


async def connect_upstream(port: int) -> socket.socket:
    """A connection with segments as long as Ethernet has them: loopback's of 64 KiB would make Nagle's algorithm wait."""
    there = socket.socket()
    there.setblocking(False)
    there.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, ETHERNET_SEGMENT)
    await asyncio.get_running_loop().sock_connect(there, (LOOPBACK, port))
    return there


def relay(
    port: int, round_trip_s: float
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]:
    """What to do with each connection to reach that port of this machine."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The client's connect() returned at once. It takes a round trip, and half of one more until the server knows.
        begin = time.monotonic() + round_trip_s
        half_s = round_trip_s / 2
        up, down = Line(), Line()
        # Cancelled at the end of the program, which streams of Python 3.11 would tell of at length.
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.CancelledError):
            reading = asyncio.create_task(read_into_delay_line(up, reader, begin, half_s))
            await asyncio.sleep(begin + half_s - time.monotonic())
            there, to_there = await asyncio.open_connection(sock=await connect_upstream(port))
            with contextlib.closing(to_there):
                await asyncio.gather(
                    reading,
                    write_from_delay_line(up, to_there),
                    read_into_delay_line(down, there, begin, half_s),
                    write_from_delay_line(down, writer),
                )

    return carry


async def main(port: int, round_trip_s: float) -> None:
    """Listen until standard input ends."""
    server = await asyncio.start_server(relay(port, round_trip_s), LOOPBACK, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]) / 1000))
