"""Workloads, as the browser's end of the tunnel sees them. Every wait has a timeout."""

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .endpoint import LOOPBACK
from .load_server import DOWNLOAD, ECHO, LINE_BYTES, PRINT, UNIT, UPLOAD, header

STALL_TIMEOUT_S = 8.0
"""A connection without progress for this long has failed. Two retransmissions of a lost SYN take less."""
ECHO_DATA = b"x" * 64
ECHO_INTERVAL_S = 0.002
"""Pause between echoes, so that each finds the tunnel idle."""
ENDLESS = 1 << 50
READ_BYTES = 1 << 20


class Amount(NamedTuple):
    """How much to transfer: `megabytes`, or as much as `limit_s` seconds allow."""

    megabytes: int
    limit_s: float

    @property
    def size(self) -> int:
        return self.megabytes * 1_000_000 // UNIT * UNIT


class TransferResult(NamedTuple):
    """The bytes that were transferred, and the time that it took."""

    size: int
    duration_s: float

    @property
    def megabytes_per_s(self) -> float:
        return self.size / 1e6 / self.duration_s


@contextlib.contextmanager
def connect(port: int, request: bytes, number: int = 0) -> Iterator[socket.socket]:
    """Connect to the load server through a local port, and send the header."""
    with socket.create_connection((LOOPBACK, port), timeout=STALL_TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(header(request, number))
        yield connection


def echo_rtt(connection: socket.socket) -> float:
    """The round-trip time of 64 bytes, in seconds. Raises OSError."""
    return _response_time(connection, ECHO_DATA, len(ECHO_DATA))


def _response_time(connection: socket.socket, data: bytes, missing: int) -> float:
    """Send data, and return the seconds until `missing` bytes have arrived."""
    started_at = time.monotonic()
    connection.sendall(data)
    while missing:
        received = connection.recv(missing)
        if not received:
            raise ConnectionError("the connection was closed before the response was complete")
        missing -= len(received)
    return time.monotonic() - started_at


def echoes(port: int) -> bool:
    """Whether the load server echoes through this port."""
    with contextlib.suppress(OSError), connect(port, ECHO) as connection:
        echo_rtt(connection)
        return True
    return False


def echo_rtts(port: int, count: int, limit_s: float) -> list[float]:
    """The round-trip times of `count` echoes in seconds, or of fewer within `limit_s`."""
    with connect(port, ECHO) as connection:
        return _repeat(lambda: echo_rtt(connection), count, limit_s)


def print_latency(port: int, count: int, limit_s: float, lines: int) -> list[float]:
    """The seconds until all lines that a cell prints have arrived: `count` values, or fewer within `limit_s`."""
    with connect(port, PRINT, lines) as connection:
        return _repeat(lambda: _response_time(connection, b"!", lines * LINE_BYTES), count, limit_s)


def _repeat(measure: Callable[[], float], count: int, limit_s: float) -> list[float]:
    values: list[float] = []
    measure()  # the first also waits for the connection to open
    until = time.monotonic() + limit_s
    while len(values) < count and time.monotonic() < until:
        time.sleep(ECHO_INTERVAL_S)
        values.append(measure())
    return values


def connect_times(port: int, count: int, limit_s: float) -> list[float]:
    """The seconds from connect() to the first echo, of `count` consecutive connections, or fewer within `limit_s`."""
    values: list[float] = []
    until = time.monotonic() + limit_s
    while len(values) < count and (not values or time.monotonic() < until):
        started_at = time.monotonic()
        with connect(port, ECHO) as connection:
            echo_rtt(connection)
            values.append(time.monotonic() - started_at)
    return values


def download(port: int, amount: Amount) -> TransferResult:
    """Receive on one connection."""
    return concurrent_downloads(port, 1, amount)


def upload(port: int, amount: Amount) -> TransferResult:
    """Send on one connection. Only bytes that the load server has acknowledged count."""
    units = amount.size // UNIT
    data = memoryview(os.urandom(UNIT))
    sent = acknowledged = 0
    last = started_at = time.monotonic()
    with connect(port, UPLOAD, amount.size) as connection, selectors.DefaultSelector() as selector:
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while acknowledged < units and time.monotonic() < started_at + amount.limit_s:
            ready = selector.select(STALL_TIMEOUT_S)
            if not ready:
                raise TimeoutError(f"no progress for {STALL_TIMEOUT_S:.0f} s after {acknowledged} MiB")
            _, events = ready[0]
            if events & selectors.EVENT_READ:
                received = connection.recv(READ_BYTES)
                if not received:
                    raise ConnectionError(f"the connection was closed after {acknowledged} MiB")
                acknowledged += len(received)
                last = time.monotonic()
            elif events & selectors.EVENT_WRITE:
                sent += connection.send(data[sent % UNIT :][: amount.size - sent])
                if sent == amount.size:
                    selector.modify(connection, selectors.EVENT_READ)
    if not acknowledged:
        raise TimeoutError(f"nothing arrived within {amount.limit_s:.0f} s")
    return TransferResult(acknowledged * UNIT, last - started_at)


class _Download:
    """One of several concurrent downloads."""

    def __init__(self, port: int, size: int) -> None:
        self.missing = size
        self.size = size
        self.header_sent = False
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex((LOOPBACK, port))

    def advance(self, buffer: bytearray) -> int:
        """Send the header, or receive once without blocking; return the bytes received. Raises OSError."""
        if not self.header_sent:
            self.socket.sendall(header(DOWNLOAD, self.size))  # fits into the empty send buffer
            self.header_sent = True
            return 0
        received = self.socket.recv_into(buffer)
        if not received:
            raise ConnectionError(f"a connection was closed {self.missing} bytes too soon")
        self.missing -= received
        return received


def concurrent_downloads(port: int, connections: int, amount: Amount) -> TransferResult:
    """Receive on several connections, opened at once; each gets an equal share of the amount.

    Raises OSError, and TimeoutError where a connection received nothing within the limit.
    """
    buffer = bytearray(READ_BYTES)
    size = amount.size // connections
    received = 0
    last = started_at = time.monotonic()
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        downloads = [_Download(port, size) for _ in range(connections)]
        for each in downloads:
            stack.enter_context(each.socket)
            selector.register(each.socket, selectors.EVENT_WRITE, each)
        pending = connections
        while pending and time.monotonic() < started_at + amount.limit_s:
            ready = selector.select(STALL_TIMEOUT_S)
            if not ready:
                raise TimeoutError(f"no progress for {STALL_TIMEOUT_S:.0f} s after {received / 1e6:.0f} MB")
            for key, _ in ready:
                each = key.data
                if not each.header_sent:
                    selector.modify(each.socket, selectors.EVENT_READ, each)
                received += each.advance(buffer)
                if not each.missing:
                    selector.unregister(each.socket)
                    pending -= 1
            last = time.monotonic()
    starved = sum(each.missing == each.size for each in downloads)
    if starved:
        raise TimeoutError(f"{starved} of {connections} connections got nothing in {amount.limit_s:.0f} s")
    return TransferResult(received, last - started_at)


class BackgroundDownload:
    """An endless download on a connection of its own."""

    def __init__(self) -> None:
        self.size = 0

    def run(self, connection: socket.socket) -> None:
        """Receive until the connection is shut down, and count the bytes in `size`."""
        buffer = bytearray(READ_BYTES)
        with contextlib.suppress(OSError):
            while received := connection.recv_into(buffer):
                self.size += received


@contextlib.contextmanager
def background_download(port: int, settle_s: float) -> Iterator[BackgroundDownload]:
    """Fill the tunnel with a download while the body runs, which begins `settle_s` seconds later.

    Raises ConnectionError when the download received nothing.
    """
    background = BackgroundDownload()
    with connect(port, DOWNLOAD, ENDLESS) as connection:
        thread = threading.Thread(target=background.run, args=(connection,), daemon=True)
        thread.start()
        try:
            thread.join(settle_s)
            yield background
        finally:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()
    if not background.size:
        raise ConnectionError("the background download received nothing")
