"""One forwarded connection: a local socket, and the stream that it is carried by."""

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
from notebooks_over_ssh.ssh.protocol.channel import DIRECT, Stream, towards
from notebooks_over_ssh.tunnel.event_loop import READ, WRITE, Pump
from notebooks_over_ssh.tunnel.target import Target

_log = logging.getLogger(__name__)

HOST = "127.0.0.1"
# What one connection may send before the others have their turn: less costs more than it brings.
TURN = 128 * 1024
# What waits for a local socket is kept as it came, but for pieces below this, which are put together: packets of one byte
# each would cost a hundred times that.
SMALL_PIECE = 4 * 1024
PIECE = 256 * 1024
RESET = struct.pack("ii", 1, 0)


class Owner(Protocol):
    """Whoever made the connection, and wants to know what becomes of it."""

    pump: Pump
    connections: "set[Forwarded]"

    def gone(self, connection: "Forwarded") -> None: ...

    def again(self, local: socket.socket, target: Target) -> None: ...


class Forwarded(Stream):
    """One connection: a local socket, and the stream that it is carried by."""

    def __init__(self, local: socket.socket, transport: Any, target: Target, owner: Owner) -> None:
        super().__init__(transport, DIRECT, towards((HOST, target.port), (HOST, 0)))
        self.target = target
        self._local = local
        self._owner = owner
        self._pump = owner.pump
        # What the local socket did not take yet; the lock is for it, and for the order of what is written.
        self._backlog: deque[memoryview | bytearray] = deque()
        self._lock = threading.Lock()
        self._peer_ended = False
        self._peer_closed = False
        self._local_ended = False
        self._is_open = False
        self._local_gone = False

    # ---- in the thread that received it ----

    def opened(self) -> None:
        self._is_open = True
        _log.debug("channel %d to port %d opened", self.number, self.target.port)
        self._pump.do(self._begin)

    def refused(self, error: paramiko.ChannelException) -> None:
        _log.debug("channel to port %d refused, reason %d", self.target.port, error.code)
        self._pump.do(self.abort)

    def lost(self) -> None:
        self._pump.do(self.give_up)

    def received(self, data: memoryview) -> None:
        with self._lock:
            sent = 0
            if self._local_gone:
                sent = len(data)
            elif not self._backlog:
                try:
                    sent = self._local.send(data)
                except BlockingIOError:
                    pass
                except OSError:
                    self._local_gone = True
                    self._pump.do(self.abort)
                    sent = len(data)  # nobody reads any more
            if sent < len(data):
                self._keep(data[sent:])
        self.taken(sent)

    def _keep(self, data: memoryview | bytearray) -> None:
        if len(data) < SMALL_PIECE:
            last = self._backlog[-1] if self._backlog else None
            if isinstance(last, bytearray) and len(last) < PIECE:
                last += data
                return
            data = bytearray(data)
        self._backlog.append(data)
        if len(self._backlog) == 1:
            self._pump.do(self._watch)

    def later(self, errand: Callable[[], None]) -> None:
        self._pump.do(partial(self._do, errand))

    def may_send_more(self) -> None:
        self._pump.do(self._watch)

    def ended(self) -> None:
        self._peer_ended = True
        self._pump.do(self._end_when_all_is_written)

    def closed(self) -> None:
        self._peer_closed = True
        self._pump.do(self._end_when_all_is_written)

    # ---- in the thread of the pump ----

    def _begin(self) -> None:
        if self in self._owner.connections:
            # What the local side sent meanwhile need not be waited for.
            self._ready(READ)
        else:
            # Another transport serves the local side by now.
            with contextlib.suppress(*FAILURES):
                self.send_close()

    def abort(self) -> None:
        """End the connection at both sides, as a reset would."""
        if self not in self._owner.connections:
            return
        if self._is_open and not self._over and self.transport.is_active():
            with contextlib.suppress(*FAILURES):
                self.send_close()
        self.leave()
        with self._lock:
            reset(self._local)

    def _do(self, errand: Callable[[], None]) -> None:
        try:
            errand()
        except FAILURES:
            self.abort()

    def leave(self) -> None:
        """Give up the local socket."""
        _log.debug("channel %d to port %d left", self.number, self.target.port)
        self._pump.watch(self._local, 0, self._ready)
        self._owner.gone(self)

    def give_up(self) -> None:
        """Its transport is of no use any more: end it, or where it has not begun, have it served by the next."""
        if self._is_open:
            self.abort()
        else:
            self.move_on()

    def move_on(self) -> None:
        """Where it has not begun, have it served by the transport that is in use now."""
        if not self._is_open and self in self._owner.connections:
            self.leave()
            self._owner.again(self._local, self.target)

    def _watch(self) -> None:
        if self not in self._owner.connections:
            return
        events = 0
        if self._is_open and not self._local_ended and not self._peer_closed and self.room > 0:
            events |= READ
        if self._backlog:
            events |= WRITE
        self._pump.watch(self._local, events, self._ready)

    def _ready(self, events: int) -> None:
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
        self._watch()

    def _read(self) -> None:
        if self._local_ended or self.room <= 0:
            return
        try:
            block = self._local.recv(min(self.room, TURN))
        except BlockingIOError:
            return
        if block:
            for at in range(0, len(block), self.largest):
                self.send_data(block[at : at + self.largest])
            return
        self._local_ended = True
        self.send_end()
        self._close_when_both_ended()

    def _write(self) -> None:
        with self._lock:
            written = 0
            with contextlib.suppress(BlockingIOError):
                while self._backlog:
                    piece = self._backlog[0]
                    sent = self._local.send(piece)
                    written += sent
                    if sent < len(piece):
                        self._backlog[0] = memoryview(piece)[sent:]
                        break
                    self._backlog.popleft()
        self.credit(written)
        self._end_when_all_is_written()

    def _end_when_all_is_written(self) -> None:
        if self._backlog or self not in self._owner.connections:
            return
        if self._peer_closed:
            self.leave()
            with self._lock:
                # Without its end, what the local side got may not be all there was.
                (socket.socket.close if self._peer_ended else reset)(self._local)
        elif self._peer_ended:
            with contextlib.suppress(OSError):
                self._local.shutdown(socket.SHUT_WR)
            self._close_when_both_ended()

    def _close_when_both_ended(self) -> None:
        if self._peer_ended and self._local_ended and not self._backlog:
            with contextlib.suppress(*FAILURES):
                self.send_close()


def reset(local: socket.socket) -> None:
    """Close a socket so that its peer takes it for cut off, and what it got for incomplete (tcp(7), SO_LINGER in socket(7))."""
    with contextlib.suppress(OSError):
        local.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    local.close()
