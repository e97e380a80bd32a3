"""Where a local port leads."""

import socket
from collections.abc import Callable
from dataclasses import dataclass

from notebooks_over_ssh.tunnel.listener import Listener


@dataclass(eq=False)
class Target:
    """A port on the host, and the local port that leads to it (None: a connection of our own does)."""

    port: int
    listener: Listener | None = None
    is_verified: Callable[[], bool] = lambda: True
    """Whether connections may be led there now; those that may not are queued."""
    on_queued: Callable[[], None] = lambda: None
    """Called when a connection has been queued."""

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets."""
        return self.listener.sockets if self.listener else ()
