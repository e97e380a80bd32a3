"""Keeps connections that have stopped answering until TCP can no longer deliver the data on them.

TCP retransmits at intervals that double (RFC 6298, section 5.5). So after an outage, data may need as long again as the
outage lasted to arrive, long after a new connection has been made.
"""

import socket
import time
from dataclasses import dataclass

from notebooks_over_ssh.ssh import connections as ssh
from notebooks_over_ssh.ssh.connection import Connection, hops
from notebooks_over_ssh.tunnel import Forwarder
from notebooks_over_ssh.tunnel.keepalive import KeepaliveMonitor

# A longer outage counts as one of this length.
MAX_OUTAGE_S = 60.0
GRACE_S = 5.0
MAX_TRANSPORTS = 4


@dataclass
class _Entry:
    monitor: KeepaliveMonitor
    silent_at: float
    """When the last packet before the replacement was received, by time.monotonic()."""
    deadline: float


class UnresponsiveTransports:
    """The connections that have been replaced and may still deliver data."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self._entries: list[_Entry] = []

    def add(self, monitor: KeepaliveMonitor) -> None:
        """Keep a connection, and the forwarded connections on it, until its data can no longer arrive."""
        now = time.monotonic()
        outage_s = min(now - monitor.last_received_at, MAX_OUTAGE_S)
        self._entries.append(_Entry(monitor, monitor.last_received_at, now + outage_s + GRACE_S))
        while len(self._entries) > MAX_TRANSPORTS:
            self._close(self._entries[0])

    def check(self) -> None:
        """Close the connections that have ended or whose time is up. Call about once a second."""
        for entry in list(self._entries):
            if entry.monitor.has_ended or not self._forwarder.has_connections(
                entry.monitor.connection.port_transport
            ):
                self._close(entry)
            elif entry.monitor.last_received_at > entry.silent_at:
                if entry.monitor.check():
                    self._close(entry)
            elif time.monotonic() > entry.deadline or not _has_local_address(entry.monitor.connection):
                self._close(entry)

    def close(self) -> None:
        """Close all connections."""
        for entry in list(self._entries):
            self._close(entry)

    def _close(self, entry: _Entry) -> None:
        self._entries.remove(entry)
        close(entry.monitor.connection, self._forwarder)


def close(connection: Connection, forwarder: Forwarder) -> None:
    """Close a connection and reset the forwarded connections on it."""
    ssh.close(connection)
    forwarder.reset_transport(connection.port_transport)


def _has_local_address(connection: Connection) -> bool:
    """Whether this machine still has the connection's local address, without which no packet can return."""
    source = getattr(hops(connection)[0].transport, "sock", None)
    if not isinstance(source, socket.socket) or source.family not in (socket.AF_INET, socket.AF_INET6):
        return True
    try:
        address = source.getsockname()
        with socket.socket(source.family, socket.SOCK_STREAM) as probe:
            probe.bind((address[0], 0, *address[2:]))
    except OSError:
        return False
    return True
