"""Forwards connections over one transport."""

import socket
from collections.abc import Callable
from typing import Any

from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.tunnel.event_loop import EventLoopThread
from notebooks_over_ssh.tunnel.forwarded_connection import ForwardedConnection
from notebooks_over_ssh.tunnel.target import Target


class TransportForwarder:
    """Forwards connections over one transport.

    Each has an event loop of its own, so that a transport that blocks does not delay the others.
    """

    def __init__(
        self,
        transport: Any,
        requeue: Callable[[socket.socket, Target], None],
        on_capacity: Callable[[], None],
    ) -> None:
        self.transport = transport
        self.connections: set[ForwardedConnection] = set()
        self.event_loop = EventLoopThread()
        self.requeue = requeue
        self._on_capacity = on_capacity

    def open_connection(self, local: socket.socket, target: Target) -> None:
        """Forward the local connection to the target. Thread-safe."""
        self.event_loop.call_soon_threadsafe(lambda: self.open(local, target))

    def requeue_unopened(self) -> None:
        """Requeue the connections from listeners whose channel the peer has not opened yet."""

        def requeue(connection: ForwardedConnection) -> None:
            if connection.target.listener is not None:
                connection.requeue_if_unopened()

        self._for_each(requeue)

    def reset_target(self, target: Target) -> None:
        """Reset the connections to the target; requeue those whose channel the peer has not opened yet."""
        self._for_each(ForwardedConnection.abort_or_requeue, target)

    def close(self) -> None:
        """Reset all connections and stop the event loop. Close a transport that may block before."""
        self._for_each(ForwardedConnection.abort_or_requeue)
        self.event_loop.close()

    def connection_closed(self, connection: ForwardedConnection) -> None:
        """Forget a connection that has ended."""
        self.connections.discard(connection)
        self._on_capacity()

    def _for_each(self, action: Callable[[ForwardedConnection], None], target: Target | None = None) -> None:
        def run_all() -> None:
            for connection in list(self.connections):
                if target is None or connection.target is target:
                    action(connection)

        self.event_loop.call_soon_threadsafe(run_all)

    def open(self, local: socket.socket, target: Target) -> None:
        """As `open_connection`, in the event loop."""
        if not target.is_verified():
            # Checked in the event loop, where `reset_target` runs too: no connection slips in between.
            self.requeue(local, target)
            return
        local.setblocking(False)
        connection = ForwardedConnection(local, self.transport, target, self)
        self.connections.add(connection)
        try:
            connection.open()
        except FAILURES:
            connection.detach()
            self.requeue(local, target)
