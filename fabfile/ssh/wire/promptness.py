"""Having both ends send small packets at once, so that a cell that prints line by line is read line by line.

Nagle's algorithm (RFC 896) keeps a small packet back while an earlier one is not acknowledged, and a receiver may put
that off (RFC 9293, section 3.8.6.3), by 40 ms in Linux. OpenSSH's sshd leaves the algorithm on until a session runs a program
(ssh_packet_set_interactive in its packet.c), which a tunnel by itself never does.
"""

import contextlib
import socket
import sys
from typing import Any

from paramiko.common import MSG_CHANNEL_EXTENDED_DATA

from fabfile.ssh.failures import FAILURES
from fabfile.ssh.wire.streams import Stream, program_request

PROGRAM = "true"
# Linux has it.
QUICKACK = getattr(socket, "TCP_QUICKACK", None)
# tcp(7) does not tell it, linux/tcp.h does; Python's socket has it from 3.12 on.
TCP_NOTSENT_LOWAT = 25
UNSENT_BYTES = 256 * 1024


def prompt_socket(host: str, port: int, timeout_s: float) -> socket.socket:
    """A TCP connection on which small packets go at once, and little waits in the system. Raises OSError."""
    reached = socket.create_connection((host, port), timeout=timeout_s)
    reached.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        # Megabytes that wait in the system to be sent are a queue before every keystroke.
        reached.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    return reached


class _Errand(Stream):
    """A session that runs a program which does nothing, and is closed without waiting for it."""

    def opened(self) -> None:
        self.later(self._run)

    def take(self, kind: int, payload: memoryview) -> bool:
        # What the start-up files of a login shell complain of.
        return kind == MSG_CHANNEL_EXTENDED_DATA or super().take(kind, payload)

    def _run(self) -> None:
        request = program_request(self._remote_number, PROGRAM, wants_answer=False)
        self.transport._send_user_message(request)
        self.send_close()


def have_it_sent_at_once(transport: Any) -> None:
    """Have the host's server keep no small packet back from now on; returns at once, and a server that refuses may."""
    with contextlib.suppress(*FAILURES):
        _Errand(transport, b"session").open()


def acknowledge(source: socket.socket) -> None:
    """Put no acknowledgement off; lasts until the next data (TCP_QUICKACK in tcp(7))."""
    if QUICKACK is not None:
        source.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)
