"""Accepts connections on the local ports and chooses the transport that forwards them."""

import errno
import socket
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from notebooks_over_ssh.tunnel.event_loop import READ, EventLoopThread
from notebooks_over_ssh.tunnel.forwarded_connection import ForwardedConnection, reset
from notebooks_over_ssh.tunnel.listener import Listener
from notebooks_over_ssh.tunnel.target import Target
from notebooks_over_ssh.tunnel.transport_forwarder import TransportForwarder

# Connections queued while no transport is attached; a browser opens fewer.
MAX_PENDING = 256


class Forwarder:
    """Forwards the connections to its listeners to ports on the host, over one transport after another.

    While no transport is attached, or a target is not verified, new connections are queued. A forwarded connection
    stays on its transport until that ends or is reset, even after `set_transport` has attached another.
    """

    def __init__(self, targets: Iterable[tuple[Listener, int]]) -> None:
        self.targets = tuple(Target(port, listener) for listener, port in targets)
        self._current: TransportForwarder | None = None
        self._forwarders: list[TransportForwarder] = []
        self._pending: deque[tuple[socket.socket, Target]] = deque()
        self._accept_paused = False
        # The event loop that accepts: that of the current transport, so that a new connection needs no change of
        # threads.
        self._acceptor: EventLoopThread | None = None
        self.event_loop = EventLoopThread()

    @property
    def connections(self) -> set[ForwardedConnection]:
        """All connections that are forwarded now."""
        return {
            connection for forwarder in list(self._forwarders) for connection in forwarder.connections.copy()
        }

    def has_connections(self, transport: Any) -> bool:
        """Whether any connection is forwarded over the transport."""
        return any(
            forwarder.connections for forwarder in list(self._forwarders) if forwarder.transport is transport
        )

    def start(self) -> None:
        """Start accepting connections."""
        self.event_loop.call_soon_threadsafe(self._listen)

    def set_transport(self, transport: Any) -> None:
        """Forward the queued connections, and all new ones, over this transport."""
        self.event_loop.call_soon_threadsafe(lambda: self._set_transport(transport))

    def serve_queued(self) -> None:
        """Forward those of the queued connections whose target is verified now."""
        self.event_loop.call_soon_threadsafe(self._serve_queued)

    def reset_target(self, target: Target) -> None:
        """Reset the connections to the target before the event loops handle any later event. Thread-safe."""
        for forwarder in list(self._forwarders):
            forwarder.reset_target(target)

    def reset_transport(self, transport: Any) -> None:
        """Reset the connections on the transport. Close it before, as writing to it may block."""
        self.event_loop.call_soon_threadsafe(lambda: self._reset_transport(transport))

    def pause(self) -> None:
        """Detach the transport: reset its connections, and queue new ones."""
        self.event_loop.call_soon_threadsafe(self._pause)

    def open_connection(self, transport: Any, port: int) -> socket.socket:
        """A connection from this program to a port on the host, without a listener."""
        local_end, channel_end = socket.socketpair()
        self.event_loop.call_soon_threadsafe(
            lambda: self._forwarder_for(transport).open_connection(channel_end, Target(port))
        )
        return local_end

    def close(self) -> None:
        """Reset all connections and close the listeners."""
        self.event_loop.call_soon_threadsafe(self._shutdown)
        self.event_loop.close()

    # ---- in the event loop ----

    def _listen(self) -> None:
        self._accept_paused = False
        self._stop_listening()
        event_loop, serve = (
            (self.event_loop, self._serve)
            if self._current is None
            else (self._current.event_loop, self._current.open)
        )
        self._acceptor = event_loop

        def work() -> None:
            for target in self.targets:
                for sock in target.sockets:
                    sock.setblocking(False)
                    event_loop.set_interest(sock, READ, partial(self._accept, serve, sock, target))

        event_loop.call_soon_threadsafe(work)

    def _accept(
        self, serve: Callable[[socket.socket, Target], None], sock: socket.socket, target: Target, _: int
    ) -> None:
        try:
            local, _ = sock.accept()
            local.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE) and not self._accept_paused:
                self._accept_paused = True
                self.event_loop.call_soon_threadsafe(self._stop_accepting)
            return
        serve(local, target)

    def _serve(self, local: socket.socket, target: Target) -> None:
        forwarder = self._current
        if forwarder is not None and forwarder.transport.is_active() and target.is_verified():
            forwarder.open_connection(local, target)
            return
        self._pending.append((local, target))
        if len(self._pending) > MAX_PENDING:
            reset(self._pending.popleft()[0])
        target.on_queued()

    def _set_transport(self, transport: Any) -> None:
        previous, self._current = self._current, self._forwarder_for(transport)
        self._move_listening()
        if previous is not None and previous is not self._current:
            previous.requeue_unopened()
        self._serve_queued()

    def _serve_queued(self) -> None:
        # A connection that is queued again because this transport has ended too waits for the next one.
        pending, self._pending = self._pending, deque()
        for local, target in pending:
            if _is_connected(local):
                self._serve(local, target)
            else:
                local.close()

    def _forwarder_for(self, transport: Any) -> TransportForwarder:
        for forwarder in self._forwarders:
            if forwarder.transport is transport:
                return forwarder
        for forwarder in [forwarder for forwarder in self._forwarders if forwarder is not self._current]:
            if not forwarder.transport.is_active():
                self._reset_transport(forwarder.transport)
        forwarder = TransportForwarder(transport, self._requeue, self._resume_accepting)
        self._forwarders.append(forwarder)
        return forwarder

    def _reset_transport(self, transport: Any) -> None:
        for forwarder in [forwarder for forwarder in self._forwarders if forwarder.transport is transport]:
            if forwarder is self._current:
                self._current = None
                self._move_listening()
            self._forwarders.remove(forwarder)
            forwarder.close()

    def _pause(self) -> None:
        if self._current is not None:
            self._reset_transport(self._current.transport)

    def _resume_accepting(self) -> None:
        if self._accept_paused:
            self.event_loop.call_soon_threadsafe(self._listen)

    def _requeue(self, local: socket.socket, target: Target) -> None:
        """Queue a connection whose channel was not opened; one from `open_connection` is reset instead."""
        if target.listener is None:
            reset(local)
        else:
            self.event_loop.call_soon_threadsafe(lambda: self._serve(local, target))

    def _stop_accepting(self) -> None:
        if self._accept_paused:
            self._stop_listening()

    def _move_listening(self) -> None:
        if self._acceptor is not None:
            self._listen()

    def _stop_listening(self) -> None:
        event_loop, self._acceptor = self._acceptor, None
        if event_loop is None:
            return

        def work() -> None:
            for target in self.targets:
                for sock in target.sockets:
                    event_loop.set_interest(sock, 0, lambda _: None)

        event_loop.call_soon_threadsafe(work)

    def _shutdown(self) -> None:
        self._accept_paused = False
        self._stop_listening()
        for forwarder in list(self._forwarders):
            self._reset_transport(forwarder.transport)
        for target in self.targets:
            if target.listener is not None:
                target.listener.close()
        # By now the forwarders have added their callbacks that requeue connections; this one runs after them.
        self.event_loop.call_soon_threadsafe(self._reset_queued)

    def _reset_queued(self) -> None:
        for local, _ in self._pending:
            reset(local)
        self._pending.clear()


def _is_connected(local: socket.socket) -> bool:
    """Whether the local side has not closed the connection."""
    try:
        return bool(local.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
    except OSError:
        return False
