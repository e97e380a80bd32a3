"""Forwards local ports to ports on the host over a Connection, as `ssh -L` does, and reconnects by itself.

This module exports the forwarder. Data from the host is written to the local socket by the thread that decrypted it.
One event loop for each transport reads the local sockets, one block each in turn, so that a transfer does not delay
small messages (docs/design.md).
"""

from notebooks_over_ssh.tunnel.forwarder import Forwarder
from notebooks_over_ssh.tunnel.listener import (
    FIRST_PORT,
    Listener,
    listen,
    listen_at_or_after,
    listen_on_any_port,
)

__all__ = ["FIRST_PORT", "Forwarder", "Listener", "listen", "listen_at_or_after", "listen_on_any_port"]
