"""Where connections to the local ports are let in, and which transport carries them."""

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

# Connections that were made while there was no way; more than that no browser opens.
MAX_PENDING = 256


class Forwarder:
    """Carries every connection to its listeners to their ports on the host, through one transport after another.

    While no transport is in use, or a target is not proven, new connections are queued. Connections that a transport
    carries stay on it until it ends or is dropped, also while another is in use.
    """

    def __init__(self, targets: Iterable[tuple[Listener, int]]) -> None:
        self.targets = tuple(Target(port, listener) for listener, port in targets)
        self._current: TransportForwarder | None = None
        self._forwarders: list[TransportForwarder] = []
        self._pending: deque[tuple[socket.socket, Target]] = deque()
        self._accept_paused = False
        # The one whose thread accepts: that of the forwarder in use, so that a new connection passes through no other.
        self._acceptor: EventLoopThread | None = None
        self.event_loop = EventLoopThread()

    @property
    def connections(self) -> set[ForwardedConnection]:
        """All that are carried now."""
        return {
            connection for forwarder in list(self._forwarders) for connection in forwarder.connections.copy()
        }

    def has_connections(self, transport: Any) -> bool:
        """Whether the transport carries any connection."""
        return any(
            forwarder.connections for forwarder in list(self._forwarders) if forwarder.transport is transport
        )

    def start(self) -> None:
        """Let connections in from now on."""
        self.event_loop.call_soon_threadsafe(self._listen)

    def set_transport(self, transport: Any) -> None:
        """Use this transport for new connections from now on, first for those that are queued."""
        self.event_loop.call_soon_threadsafe(lambda: self._set_transport(transport))

    def serve_queued(self) -> None:
        """Look again which of the queued connections may be led to their targets."""
        self.event_loop.call_soon_threadsafe(self._serve_queued)

    def reset_target(self, target: Target) -> None:
        """Reset the connections to the target; from any thread, and before anything that arrives later is handled."""
        for forwarder in list(self._forwarders):
            forwarder.reset_target(target)

    def reset_transport(self, transport: Any) -> None:
        """Reset what the transport carries; close it first, for its path may take nothing any more."""
        self.event_loop.call_soon_threadsafe(lambda: self._reset_transport(transport))

    def pause(self) -> None:
        """There is no way now: end what was open, and queue new connections."""
        self.event_loop.call_soon_threadsafe(self._pause)

    def open_connection(self, transport: Any, port: int) -> socket.socket:
        """A connection of our own to a port on the host, without a listener."""
        local_end, channel_end = socket.socketpair()
        self.event_loop.call_soon_threadsafe(
            lambda: self._forwarder_for(transport).open_connection(channel_end, Target(port))
        )
        return local_end

    def close(self) -> None:
        """End all connections and close the listeners."""
        self.event_loop.call_soon_threadsafe(self._shutdown)
        self.event_loop.close()

    # ---- in the thread of the pump ----

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
                self.event_loop.call_soon_threadsafe(self._wait_for_room)
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
        self._listen_elsewhere()
        if previous is not None and previous is not self._current:
            previous.requeue_unopened()
        self._serve_queued()

    def _serve_queued(self) -> None:
        # Those that are queued again, as this transport ends too, wait for the next.
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
                self._listen_elsewhere()
            self._forwarders.remove(forwarder)
            forwarder.close()

    def _pause(self) -> None:
        if self._current is not None:
            self._reset_transport(self._current.transport)

    def _resume_accepting(self) -> None:
        if self._accept_paused:
            self.event_loop.call_soon_threadsafe(self._listen)

    def _requeue(self, local: socket.socket, target: Target) -> None:
        """Its transport ended before the connection began: serve it by the next, unless it is our own, which knows better."""
        if target.listener is None:
            reset(local)
        else:
            self.event_loop.call_soon_threadsafe(lambda: self._serve(local, target))

    def _wait_for_room(self) -> None:
        if self._accept_paused:
            self._stop_listening()

    def _listen_elsewhere(self) -> None:
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
        # What a forwarder gave back has been asked for by now.
        self.event_loop.call_soon_threadsafe(self._reset_queued)

    def _reset_queued(self) -> None:
        for local, _ in self._pending:
            reset(local)
        self._pending.clear()


def _is_connected(local: socket.socket) -> bool:
    """Whether whoever connected still waits."""
    try:
        return bool(local.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
    except OSError:
        return False
