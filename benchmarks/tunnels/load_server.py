"""The server at the end of the tunnels: it sends, receives and echoes faster than any of them.

    python -m benchmarks.tunnels.load_server

Prints the port that it listens on, and exits at the end of its standard input. A client sends a header first: one of
the request types below, and a number of eight bytes in network byte order. The protocol does not use half-close, which
some forwarders do not pass on.
"""

import contextlib
import os
import socket
import sys
import tempfile
import threading
import time
from typing import IO

from .endpoint import LOOPBACK

DOWNLOAD = b"d"
"""The server sends `number` bytes, then EOF."""
UPLOAD = b"u"
"""The server receives `number` bytes, and sends one byte for each UNIT of them."""
ECHO = b"e"
"""The server echoes until EOF; `number` is unused."""
PRINT = b"p"
"""For each byte that it receives, the server sends `number` lines, LINE_INTERVAL_S apart, like a cell that prints."""
LINE_BYTES = 300
LINE_INTERVAL_S = 0.001
UNIT = 1024 * 1024
HEADER_BYTES = 9

_DATA_BYTES = 16 * UNIT


def header(request: bytes, number: int = 0) -> bytes:
    """The header of a connection."""
    return request + number.to_bytes(HEADER_BYTES - 1, "big")


def _send(connection: socket.socket, data: IO[bytes], size: int) -> None:
    while size:
        offset = size % _DATA_BYTES
        size -= os.sendfile(connection.fileno(), data.fileno(), offset, min(size, _DATA_BYTES - offset))


def _receive(connection: socket.socket, size: int) -> None:
    buffer = bytearray(UNIT)
    received = 0
    while received < size and (count := connection.recv_into(buffer)):
        units = (received + count) // UNIT - received // UNIT
        received += count
        if units:
            connection.sendall(bytes(units))


def _echo(connection: socket.socket) -> None:
    while data := connection.recv(UNIT):
        connection.sendall(data)


def _print(connection: socket.socket, lines: int) -> None:
    while connection.recv(1):
        for _ in range(lines):
            connection.sendall(bytes(LINE_BYTES))
            time.sleep(LINE_INTERVAL_S)


def _serve(connection: socket.socket, data: IO[bytes]) -> None:
    # OSError: the client or its forwarder closed the connection early.
    with connection, contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = connection.recv(HEADER_BYTES, socket.MSG_WAITALL)
        request, number = received[:1], int.from_bytes(received[1:], "big")
        if request == DOWNLOAD:
            _send(connection, data, number)
        elif request == UPLOAD:
            _receive(connection, number)
        elif request == ECHO:
            _echo(connection)
        elif request == PRINT:
            _print(connection, number)


def _accept(listener: socket.socket, data: IO[bytes]) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection, data), daemon=True).start()


def main() -> None:
    """Serve until standard input ends."""
    with tempfile.TemporaryFile() as data, socket.create_server((LOOPBACK, 0), backlog=1024) as listener:
        data.write(os.urandom(_DATA_BYTES))  # random, so that compression gains nothing
        data.flush()
        threading.Thread(target=_accept, args=(listener, data), daemon=True).start()
        print(listener.getsockname()[1], flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
