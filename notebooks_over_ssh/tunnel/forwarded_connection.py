"""One forwarded connection: a local socket and its direct-tcpip channel (RFC 4254, section 7.2)."""

import contextlib
import logging
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import paramiko

from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.protocol.channel import DIRECT_TCPIP, Channel, direct_tcpip_payload
from notebooks_over_ssh.tunnel.event_loop import READ, WRITE, EventLoopThread
from notebooks_over_ssh.tunnel.target import Target

_log = logging.getLogger(__name__)

HOST = "127.0.0.1"
# bytes that one connection sends before the next has its turn; smaller reads cost throughput
READ_SIZE = 128 * 1024
# Data that a local socket does not take yet is kept as received, except that packets below SMALL_PACKET_BYTES are
# joined into chunks: as objects of their own, packets of one byte would need a hundred times their size.
SMALL_PACKET_BYTES = 4 * 1024
CHUNK_BYTES = 256 * 1024
LINGER_RESET = struct.pack("ii", 1, 0)


class ConnectionOwner(Protocol):
    """The interface that a ForwardedConnection requires of its owner."""

    event_loop: EventLoopThread
    connections: "set[ForwardedConnection]"

    def connection_closed(self, connection: "ForwardedConnection") -> None: ...

    def requeue(self, local: socket.socket, target: Target) -> None: ...


class ForwardedConnection(Channel):
    """A local socket and its direct-tcpip channel; passes on half-close, flow control and resets in both directions."""

    def __init__(self, local: socket.socket, transport: Any, target: Target, owner: ConnectionOwner) -> None:
        super().__init__(transport, DIRECT_TCPIP, direct_tcpip_payload((HOST, target.port), (HOST, 0)))
        self.target = target
        self._local = local
        self._owner = owner
        self._event_loop = owner.event_loop
        # Data that the local socket has not taken yet. The lock guards it and the order of writes.
        self._backlog: deque[memoryview | bytearray] = deque()
        self._lock = threading.Lock()
        self._peer_eof = False
        self._peer_closed = False
        self._local_eof = False
        self._is_open = False
        self._local_closed = False

    # ---- in the receiving thread ----

    def channel_opened(self) -> None:
        self._is_open = True
        _log.debug("channel %d to port %d opened", self.local_id, self.target.port)
        self._event_loop.call_soon_threadsafe(self._on_channel_open)

    def open_failed(self, error: paramiko.ChannelException) -> None:
        _log.debug("channel to port %d refused, reason %d", self.target.port, error.code)
        self._event_loop.call_soon_threadsafe(self.abort)

    def connection_lost(self) -> None:
        self._event_loop.call_soon_threadsafe(self.abort_or_requeue)

    def data_received(self, data: memoryview) -> None:
        with self._lock:
            sent = 0
            if self._local_closed:
                sent = len(data)
            elif not self._backlog:
                try:
                    sent = self._local.send(data)
                except BlockingIOError:
                    pass
                except OSError:
                    self._local_closed = True
                    self._event_loop.call_soon_threadsafe(self.abort)
                    sent = len(data)  # discarded: the local side has closed
            if sent < len(data):
                self._buffer(data[sent:])
        self.consumed(sent)

    def _buffer(self, data: memoryview | bytearray) -> None:
        if len(data) < SMALL_PACKET_BYTES:
            last = self._backlog[-1] if self._backlog else None
            if isinstance(last, bytearray) and len(last) < CHUNK_BYTES:
                last += data
                return
            data = bytearray(data)
        self._backlog.append(data)
        if len(self._backlog) == 1:
            self._event_loop.call_soon_threadsafe(self._update_interest)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._event_loop.call_soon_threadsafe(partial(self._run_callback, callback))

    def resume_writing(self) -> None:
        self._event_loop.call_soon_threadsafe(self._update_interest)

    def eof_received(self) -> None:
        self._peer_eof = True
        self._event_loop.call_soon_threadsafe(self._finish_when_flushed)

    def channel_closed(self) -> None:
        self._peer_closed = True
        self._event_loop.call_soon_threadsafe(self._finish_when_flushed)

    # ---- in the event loop ----

    def _on_channel_open(self) -> None:
        if self in self._owner.connections:
            # The local side may have sent data already: read it without a round through the selector.
            self._on_ready(READ)
        else:
            # The connection was requeued, and another transport forwards it now.
            with contextlib.suppress(*FAILURES):
                self.send_close()

    def abort(self) -> None:
        """Reset the connection on both sides."""
        if self not in self._owner.connections:
            return
        if self._is_open and not self._is_closed and self.transport.is_active():
            with contextlib.suppress(*FAILURES):
                self.send_close()
        self.detach()
        with self._lock:
            reset(self._local)

    def _run_callback(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except FAILURES:
            self.abort()

    def detach(self) -> None:
        """Stop forwarding, and leave the local socket to the caller."""
        _log.debug("channel %d to port %d detached", self.local_id, self.target.port)
        self._event_loop.set_interest(self._local, 0, self._on_ready)
        self._owner.connection_closed(self)

    def abort_or_requeue(self) -> None:
        """Reset the connection; requeue it instead if its channel has not been opened."""
        if self._is_open:
            self.abort()
        else:
            self.requeue_if_unopened()

    def requeue_if_unopened(self) -> None:
        """Requeue the connection, for the current transport, if its channel has not been opened."""
        if not self._is_open and self in self._owner.connections:
            self.detach()
            self._owner.requeue(self._local, self.target)

    def _update_interest(self) -> None:
        if self not in self._owner.connections:
            return
        events = 0
        if self._is_open and not self._local_eof and not self._peer_closed and self.send_window > 0:
            events |= READ
        if self._backlog:
            events |= WRITE
        self._event_loop.set_interest(self._local, events, self._on_ready)

    def _on_ready(self, events: int) -> None:
        if self not in self._owner.connections:
            return
        try:
            if events & WRITE:
                self._write()
            if events & READ:
                self._read()
        except FAILURES:
            self.abort()
            return
        self._update_interest()

    def _read(self) -> None:
        if self._local_eof or self.send_window <= 0:
            return
        try:
            data = self._local.recv(min(self.send_window, READ_SIZE))
        except BlockingIOError:
            return
        if data:
            for offset in range(0, len(data), self.max_packet_size):
                self.send_data(data[offset : offset + self.max_packet_size])
            return
        self._local_eof = True
        self.send_eof()
        self._close_when_both_eof()

    def _write(self) -> None:
        with self._lock:
            written = 0
            with contextlib.suppress(BlockingIOError):
                while self._backlog:
                    chunk = self._backlog[0]
                    sent = self._local.send(chunk)
                    written += sent
                    if sent < len(chunk):
                        self._backlog[0] = memoryview(chunk)[sent:]
                        break
                    self._backlog.popleft()
        self.credit(written)
        self._finish_when_flushed()

    def _finish_when_flushed(self) -> None:
        if self._backlog or self not in self._owner.connections:
            return
        if self._peer_closed:
            self.detach()
            with self._lock:
                # Without an EOF from the peer the data may be incomplete, so the local side must see a reset.
                (socket.socket.close if self._peer_eof else reset)(self._local)
        elif self._peer_eof:
            with contextlib.suppress(OSError):
                self._local.shutdown(socket.SHUT_WR)
            self._close_when_both_eof()

    def _close_when_both_eof(self) -> None:
        if self._peer_eof and self._local_eof and not self._backlog:
            with contextlib.suppress(*FAILURES):
                self.send_close()


def reset(local: socket.socket) -> None:
    """Close a socket with a TCP reset, so that its peer takes the data for incomplete (SO_LINGER in socket(7))."""
    with contextlib.suppress(OSError):
        local.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
    local.close()
