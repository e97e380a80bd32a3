"""Having both ends send small packets at once, so that a cell that prints line by line is read line by line.

Nagle's algorithm (RFC 896) keeps a small packet back while an earlier one is not acknowledged, and a receiver may put
that off (RFC 9293, section 3.8.6.3), by 40 ms in Linux. OpenSSH's sshd leaves the algorithm on until a session runs a program
(ssh_packet_set_interactive in its packet.c), as the tunnel's does (background_program.py).
"""

import logging
import os
import socket
import sys
from typing import Any

_log = logging.getLogger(__name__)

# Linux has it.
QUICKACK = getattr(socket, "TCP_QUICKACK", None)
# tcp(7) does not tell it, linux/tcp.h does; Python's socket has it from 3.12 on.
TCP_NOTSENT_LOWAT = 25
NOTSENT_LOWAT_BYTES = 256 * 1024


class PromptSocket(socket.socket):
    """Asks whether there is room only where there was none; Python asks before each `send` of a socket with a timeout."""

    def send(self, data: Any, flags: int = 0, /) -> int:
        try:
            return os.write(self.fileno(), data)
        except BlockingIOError:
            return super().send(data, flags)


def connect_low_latency(host: str, port: int, timeout_s: float) -> socket.socket:
    """A TCP connection on which small packets go at once, and little waits in the system. Raises OSError."""
    _log.debug("connecting to %s port %d", host, port)
    sock = PromptSocket(fileno=socket.create_connection((host, port), timeout=timeout_s).detach())
    sock.settimeout(timeout_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        # Megabytes that wait in the system to be sent are a queue before every keystroke.
        sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)
    return sock


def quick_ack(sock: socket.socket) -> None:
    """Put no acknowledgement off; lasts until the next data (TCP_QUICKACK in tcp(7))."""
    if QUICKACK is not None:
        sock.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)
