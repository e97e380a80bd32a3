"""Whether the server at the other end of a connection answers."""

import threading
import time

from notebooks_over_ssh.ssh.connection import Connection

# Less than a client of a held login waits for the greeting.
KEEPALIVE_TIMEOUT_S = 2.5
POLL_INTERVAL_S = 0.05


def responds(connection: Connection) -> bool:
    """Whether the server sends anything within KEEPALIVE_TIMEOUT_S, such as the answer to a keepalive."""
    packetizer = connection.transport.packetizer
    silent_since, deadline = packetizer.last_received_at, time.monotonic() + KEEPALIVE_TIMEOUT_S
    connection.transport.send_keepalive()
    while packetizer.last_received_at == silent_since:
        if not connection.is_connected or time.monotonic() > deadline:
            return False
        threading.Event().wait(POLL_INTERVAL_S)
    return bool(connection.is_connected)
