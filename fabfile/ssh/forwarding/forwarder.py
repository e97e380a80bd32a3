"""Where connections to the local ports are let in, and which transport carries them."""

import errno
import socket
from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Any
from weakref import WeakSet

from fabfile.ssh.failures import FAILURES
from fabfile.ssh.forwarding.forwarded import Forwarded, reset
from fabfile.ssh.forwarding.listening import Listener
from fabfile.ssh.forwarding.pump import READ, Pump

# Connections that were made while there was no way; more than that no browser opens.
MOST_WAITING = 256


class Forwarder:
    """Carries every connection to its listeners to their ports on the host, through one transport after another.

    As long as there is no transport, who connects waits, and is served when there is one again.
    """

    def __init__(self, targets: Iterable[tuple[Listener, int]]) -> None:
        self._targets = tuple(targets)
        self._transport: Any = None
        self._waiting: deque[tuple[socket.socket, int]] = deque()
        self._own: WeakSet[socket.socket] = WeakSet()
        self._is_full = False
        self.connections: set[Forwarded] = set()
        self.pump = Pump()

    def accept(self) -> None:
        """Let connections in from now on."""
        self.pump.do(self._listen)

    def lead_through(self, transport: Any) -> None:
        """Use this transport from now on, first for those who wait."""
        self.pump.do(lambda: self._use(transport))

    def hold(self) -> None:
        """There is no way now: end what was open, and let those who come wait."""
        self.pump.do(lambda: self._use(None))

    def connect(self, transport: Any, port: int) -> socket.socket:
        """A connection of our own to a port on the host, without a listener."""
        ours, theirs = socket.socketpair()
        self._own.add(theirs)
        self.pump.do(lambda: self._forward(theirs, port, transport))
        return ours

    def close(self) -> None:
        """End all connections and close the listeners."""
        self.pump.do(self._end)
        self.pump.close()

    # ---- in the thread of the pump ----

    def _listen(self) -> None:
        self._is_full = False
        for listener, port in self._targets:
            for listening in listener.sockets:
                listening.setblocking(False)
                self.pump.watch(listening, READ, partial(self._accept, listening, port))

    def _accept(self, listening: socket.socket, port: int, _: int) -> None:
        try:
            local, _ = listening.accept()
            local.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._is_full = True
                self._stop_listening()
            return
        self._serve(local, port)

    def _serve(self, local: socket.socket, port: int) -> None:
        if self._transport is not None and self._transport.is_active():
            self._forward(local, port, self._transport)
            return
        self._waiting.append((local, port))
        if len(self._waiting) > MOST_WAITING:
            reset(self._waiting.popleft()[0])

    def _use(self, transport: Any) -> None:
        self._transport = transport
        if transport is None:
            for connection in list(self.connections):
                connection.give_up()
            return
        # Who waits again, as this transport ends too, waits for the next.
        waiting, self._waiting = self._waiting, deque()
        for local, port in waiting:
            if _is_there(local):
                self._forward(local, port, transport)
            else:
                local.close()

    def _forward(self, local: socket.socket, port: int, transport: Any) -> None:
        local.setblocking(False)
        connection = Forwarded(local, transport, port, self)
        self.connections.add(connection)
        try:
            connection.open()
        except FAILURES:
            connection.leave()
            self.again(local, port)

    def gone(self, connection: "Forwarded") -> None:
        """The connection is over, and there is room for another."""
        self.connections.discard(connection)
        if self._is_full:
            self._listen()

    def again(self, local: socket.socket, port: int) -> None:
        """Its transport ended before the connection began: serve it by the next, unless it is our own, which knows better."""
        if local in self._own:
            reset(local)
        else:
            self._serve(local, port)

    def _stop_listening(self) -> None:
        for listener, _ in self._targets:
            for listening in listener.sockets:
                self.pump.watch(listening, 0, lambda _: None)

    def _end(self) -> None:
        self._is_full = False
        self._stop_listening()
        for listener, _ in self._targets:
            listener.close()
        for local, _ in self._waiting:
            reset(local)
        for connection in list(self.connections):
            connection.abort()


def _is_there(local: socket.socket) -> bool:
    """Whether whoever connected still waits."""
    try:
        return bool(local.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
    except OSError:
        return False
