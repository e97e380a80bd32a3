"""TCP options against delays of small packets, so that a cell's output appears line by line.

Nagle's algorithm (RFC 896) holds a small segment back until earlier data is acknowledged, and a receiver may delay the
acknowledgement (RFC 9293, section 3.8.6.3), by 40 ms in Linux. sshd sets TCP_NODELAY only when a session runs a program
(ssh_packet_set_interactive in OpenSSH's packet.c), which the tunnel's does (background_program.py).
"""

import logging
import os
import socket
import sys
from typing import Any

_log = logging.getLogger(__name__)

# Linux only.
QUICKACK = getattr(socket, "TCP_QUICKACK", None)
# From linux/tcp.h; in Python's socket module since 3.12.
TCP_NOTSENT_LOWAT = 25
NOTSENT_LOWAT_BYTES = 256 * 1024


class PromptSocket(socket.socket):
    """Polls for writability only after EAGAIN; Python's socket with a timeout polls before each `send`."""

    def send(self, data: Any, flags: int = 0, /) -> int:
        try:
            return os.write(self.fileno(), data)
        except BlockingIOError:
            return super().send(data, flags)


def connect_low_latency(host: str, port: int, timeout_s: float) -> socket.socket:
    """A TCP connection with TCP_NODELAY and a short send queue in the kernel. Raises OSError."""
    _log.debug("connecting to %s port %d", host, port)
    sock = PromptSocket(fileno=socket.create_connection((host, port), timeout=timeout_s).detach())
    sock.settimeout(timeout_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        # Megabytes of unsent data in the kernel would delay every keystroke.
        sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)
    return sock


def quick_ack(sock: socket.socket) -> None:
    """Send pending acknowledgements now; not permanent (TCP_QUICKACK in tcp(7))."""
    if QUICKACK is not None:
        sock.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)
