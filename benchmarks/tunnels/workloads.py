"""What goes through a tunnel while it is measured, as seen from the end where the browser is. Every wait is bounded."""

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .endpoint import LOOPBACK
from .load_server import DOWNLOAD, ECHO, PIECE, PIECES, UNIT, UPLOAD, head

STALL_S = 8.0
"""How long nothing may come before that counts as a failure: longer than a lost SYN takes to be sent twice more."""
ECHO_BYTES = b"x" * 64
PAUSE_S = 0.002
"""Between keystrokes, so that each finds the tunnel as it is and not still awake from the one before."""
ENDLESS = 1 << 50
READ_AT_ONCE = 1 << 20


class Amount(NamedTuple):
    """What to move: so many MB, or less where it takes longer than so many seconds."""

    megabytes: int
    limit_s: float

    @property
    def size(self) -> int:
        return self.megabytes * 1_000_000 // UNIT * UNIT


class TransferResult(NamedTuple):
    """What was moved, in how long."""

    size: int
    duration_s: float

    @property
    def megabytes_per_s(self) -> float:
        return self.size / 1e6 / self.duration_s


@contextlib.contextmanager
def opened(port: int, letter: bytes, count: int = 0) -> Iterator[socket.socket]:
    """A connection to the target by that local port, which has said what it wants."""
    with socket.create_connection((LOOPBACK, port), timeout=STALL_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(head(letter, count))
        yield connection


def echo_rtt(connection: socket.socket) -> float:
    """The seconds until 64 bytes are back. Raises OSError."""
    return _answered(connection, ECHO_BYTES, len(ECHO_BYTES))


def _answered(connection: socket.socket, question: bytes, missing: int) -> float:
    """The seconds until that many bytes have come for the question."""
    started_at = time.monotonic()
    connection.sendall(question)
    while missing:
        came = connection.recv(missing)
        if not came:
            raise ConnectionError("the connection ended before the answer")
        missing -= len(came)
    return time.monotonic() - started_at


def echoes(port: int) -> bool:
    """Whether a keystroke comes back by that port."""
    with contextlib.suppress(OSError), opened(port, ECHO) as connection:
        echo_rtt(connection)
        return True
    return False


def echo_rtts(port: int, count: int, limit_s: float) -> list[float]:
    """The seconds that each of so many keystrokes took, or of fewer where they take longer than the limit."""
    with opened(port, ECHO) as connection:
        return _one_after_the_other(lambda: echo_rtt(connection), count, limit_s)


def print_latency(port: int, count: int, limit_s: float, pieces: int) -> list[float]:
    """The seconds until all pieces of what a cell prints are there, so often, or less often within the limit."""
    with opened(port, PIECES, pieces) as connection:
        return _one_after_the_other(lambda: _answered(connection, b"!", pieces * PIECE), count, limit_s)


def _one_after_the_other(measure: Callable[[], float], count: int, limit_s: float) -> list[float]:
    values: list[float] = []
    measure()  # opens the connection
    until = time.monotonic() + limit_s
    while len(values) < count and time.monotonic() < until:
        time.sleep(PAUSE_S)
        values.append(measure())
    return values


def openings(port: int, count: int, limit_s: float) -> list[float]:
    """The seconds from `connect` to the first echo, of so many connections, one after the other."""
    values: list[float] = []
    until = time.monotonic() + limit_s
    while len(values) < count and (not values or time.monotonic() < until):
        started_at = time.monotonic()
        with opened(port, ECHO) as connection:
            echo_rtt(connection)
            values.append(time.monotonic() - started_at)
    return values


def download(port: int, amount: Amount) -> TransferResult:
    """Take what comes on one connection."""
    return download_on_many(port, 1, amount)


def upload(port: int, amount: Amount) -> TransferResult:
    """Send on one connection; only what the target has confirmed counts."""
    units = amount.size // UNIT
    block = memoryview(os.urandom(UNIT))
    sent = confirmed = 0
    last = started_at = time.monotonic()
    with opened(port, UPLOAD, amount.size) as connection, selectors.DefaultSelector() as selector:
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while confirmed < units and time.monotonic() < started_at + amount.limit_s:
            ready = selector.select(STALL_S)
            if not ready:
                raise TimeoutError(f"nothing went on for {STALL_S:.0f} s after {confirmed} MiB")
            _, events = ready[0]
            if events & selectors.EVENT_READ:
                came = connection.recv(READ_AT_ONCE)
                if not came:
                    raise ConnectionError(f"the connection ended after {confirmed} MiB")
                confirmed += len(came)
                last = time.monotonic()
            elif events & selectors.EVENT_WRITE:
                sent += connection.send(block[sent % UNIT :][: amount.size - sent])
                if sent == amount.size:
                    selector.modify(connection, selectors.EVENT_READ)
    if not confirmed:
        raise TimeoutError(f"nothing arrived within {amount.limit_s:.0f} s")
    return TransferResult(confirmed * UNIT, last - started_at)


class _Download:
    """One of many downloads at once."""

    def __init__(self, port: int, size: int) -> None:
        self.missing = size
        self.size = size
        self.asked = False
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex((LOOPBACK, port))

    def go_on(self, block: bytearray) -> int:
        """Do what can be done now, and return how many bytes came. Raises OSError."""
        if not self.asked:
            self.socket.sendall(head(DOWNLOAD, self.size))  # the first bytes that a socket takes
            self.asked = True
            return 0
        came = self.socket.recv_into(block)
        if not came:
            raise ConnectionError(f"a connection ended {self.missing} bytes too soon")
        self.missing -= came
        return came


def download_on_many(port: int, connections: int, amount: Amount) -> TransferResult:
    """Take what comes on so many connections, opened and read all at once; each has the same share of the amount.

    Raises OSError, and TimeoutError where one of them got nothing within the limit.
    """
    block = bytearray(READ_AT_ONCE)
    size = amount.size // connections
    came = 0
    last = started_at = time.monotonic()
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        waiting = [_Download(port, size) for _ in range(connections)]
        for each in waiting:
            stack.enter_context(each.socket)
            selector.register(each.socket, selectors.EVENT_WRITE, each)
        left = connections
        while left and time.monotonic() < started_at + amount.limit_s:
            ready = selector.select(STALL_S)
            if not ready:
                raise TimeoutError(f"nothing came for {STALL_S:.0f} s after {came / 1e6:.0f} MB")
            for key, _ in ready:
                each = key.data
                if not each.asked:
                    selector.modify(each.socket, selectors.EVENT_READ, each)
                came += each.go_on(block)
                if not each.missing:
                    selector.unregister(each.socket)
                    left -= 1
            last = time.monotonic()
    starved = sum(each.missing == each.size for each in waiting)
    if starved:
        raise TimeoutError(f"{starved} of {connections} connections got nothing in {amount.limit_s:.0f} s")
    return TransferResult(came, last - started_at)


class Load:
    """A download without an end on a connection of its own."""

    def __init__(self) -> None:
        self.size = 0

    def _take(self, connection: socket.socket) -> None:
        block = bytearray(READ_AT_ONCE)
        # Ends when the one who wanted the load shuts the connection.
        with contextlib.suppress(OSError):
            while came := connection.recv_into(block):
                self.size += came


@contextlib.contextmanager
def load(port: int, settle_s: float) -> Iterator[Load]:
    """Fill the tunnel with a download while the body runs, which begins when that has gone on for a while."""
    filling = Load()
    with opened(port, DOWNLOAD, ENDLESS) as connection:
        thread = threading.Thread(target=filling._take, args=(connection,), daemon=True)
        thread.start()
        try:
            thread.join(settle_s)
            yield filling
        finally:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()
    if not filling.size:
        raise ConnectionError("the download beside got nothing")
