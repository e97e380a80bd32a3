"""One transport and the connections that it carries."""

import socket
from collections.abc import Callable
from typing import Any

from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.tunnel.event_loop import Pump
from notebooks_over_ssh.tunnel.forwarded_connection import Forwarded
from notebooks_over_ssh.tunnel.target import Target


class Link:
    """One transport and the connections that it carries.

    Each has a thread of its own, so that a path that takes nothing any more blocks no other.
    """

    def __init__(
        self,
        transport: Any,
        again: Callable[[socket.socket, Target], None],
        room: Callable[[], None],
    ) -> None:
        self.transport = transport
        self.connections: set[Forwarded] = set()
        self.pump = Pump()
        self.again = again
        self._room = room

    def carry(self, local: socket.socket, target: Target) -> None:
        """Carry the local connection to the target; from any thread."""
        self.pump.do(lambda: self.open(local, target))

    def hand_over(self) -> None:
        """Give the connections that the peer has not opened yet back, to be carried by another."""
        self._each(Forwarded.move_on)

    def end(self, target: Target) -> None:
        """Reset the connections to the target, and give back those that the peer has not opened yet."""
        self._each(Forwarded.give_up, target)

    def close(self) -> None:
        """Reset all connections and end the thread; where its path takes nothing, close the transport first."""
        self._each(Forwarded.give_up)
        self.pump.close()

    def gone(self, connection: Forwarded) -> None:
        """The connection is over, and there is room for another."""
        self.connections.discard(connection)
        self._room()

    def _each(self, do: Callable[[Forwarded], None], target: Target | None = None) -> None:
        def work() -> None:
            for connection in list(self.connections):
                if target is None or connection.target is target:
                    do(connection)

        self.pump.do(work)

    def open(self, local: socket.socket, target: Target) -> None:
        """As `carry`, in the thread of the pump."""
        if not target.is_proven():
            # Looked at here, where `end` comes before or after, so nothing is led there in between.
            self.again(local, target)
            return
        local.setblocking(False)
        connection = Forwarded(local, self.transport, target, self)
        self.connections.add(connection)
        try:
            connection.open()
        except FAILURES:
            connection.leave()
            self.again(local, target)
