"""What the tunnels lead to: a server that sends, takes and echoes faster than any of them.

    python -m benchmarks.tunnels.load_server

Prints the port that it listens on, and ends with its standard input. A connection begins with one of the letters below
and a number of eight bytes, the big end first. Nothing depends on a half-close, which not every forwarder passes on.
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
"""That many bytes come, and then the end."""
UPLOAD = b"u"
"""That many bytes are taken; a byte comes back for each whole UNIT of them."""
ECHO = b"e"
"""Whatever is sent comes back, to the end; the number means nothing."""
PIECES = b"p"
"""For each byte that is sent, that many pieces of PIECE bytes come, PIECE_PAUSE_S apart, as from a cell that prints."""
PIECE = 300
PIECE_PAUSE_S = 0.001
UNIT = 1024 * 1024
HEAD = 9

_SUPPLY = 16 * UNIT


def head(letter: bytes, count: int = 0) -> bytes:
    """How a connection begins."""
    return letter + count.to_bytes(HEAD - 1, "big")


def _send(connection: socket.socket, supply: IO[bytes], count: int) -> None:
    while count:
        at = count % _SUPPLY
        count -= os.sendfile(connection.fileno(), supply.fileno(), at, min(count, _SUPPLY - at))


def _take(connection: socket.socket, count: int) -> None:
    block = bytearray(UNIT)
    taken = 0
    while taken < count and (size := connection.recv_into(block)):
        units = (taken + size) // UNIT - taken // UNIT
        taken += size
        if units:
            connection.sendall(bytes(units))


def _echo(connection: socket.socket) -> None:
    while block := connection.recv(UNIT):
        connection.sendall(block)


def _print(connection: socket.socket, pieces: int) -> None:
    while connection.recv(1):
        for _ in range(pieces):
            connection.sendall(bytes(PIECE))
            time.sleep(PIECE_PAUSE_S)


def _serve(connection: socket.socket, supply: IO[bytes]) -> None:
    # A forwarder that breaks off, or a benchmark that has seen enough.
    with connection, contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        output = connection.recv(HEAD, socket.MSG_WAITALL)
        letter, count = output[:1], int.from_bytes(output[1:], "big")
        if letter == DOWNLOAD:
            _send(connection, supply, count)
        elif letter == UPLOAD:
            _take(connection, count)
        elif letter == ECHO:
            _echo(connection)
        elif letter == PIECES:
            _print(connection, count)


def _accept(listening: socket.socket, supply: IO[bytes]) -> None:
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_serve, args=(connection, supply), daemon=True).start()


def main() -> None:
    """Serve until standard input ends."""
    with tempfile.TemporaryFile() as supply, socket.create_server((LOOPBACK, 0), backlog=1024) as listening:
        supply.write(os.urandom(_SUPPLY))  # nothing that a compression could make smaller
        supply.flush()
        threading.Thread(target=_accept, args=(listening, supply), daemon=True).start()
        print(listening.getsockname()[1], flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
