"""The destination of a local port."""

import socket
from collections.abc import Callable
from dataclasses import dataclass

from notebooks_over_ssh.tunnel.listener import Listener


@dataclass(eq=False)
class Target:
    """A port on the host, and the listener that is forwarded to it (None for a connection from this program)."""

    port: int
    listener: Listener | None = None
    is_verified: Callable[[], bool] = lambda: True
    """Whether connections may be opened now; otherwise they are queued. Called in event loops."""
    on_queued: Callable[[], None] = lambda: None
    """Called in the event loop when a connection has been queued."""

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets."""
        return self.listener.sockets if self.listener else ()
