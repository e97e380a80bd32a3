"""Keeps replaced connections as long as they respond, or TCP may still deliver the data on them."""

import socket

from notebooks_over_ssh.ssh import connections as ssh
from notebooks_over_ssh.ssh.connection import Connection, hops
from notebooks_over_ssh.tunnel import Forwarder
from notebooks_over_ssh.tunnel.keepalive import KeepaliveMonitor

MAX_TRANSPORTS = 4


class UnresponsiveTransports:
    """The connections that were unresponsive when they were replaced, with the forwarded connections on them."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self._monitors: list[KeepaliveMonitor] = []

    def add(self, monitor: KeepaliveMonitor) -> None:
        """Keep a connection; with too many, close the one that has been silent for the longest time."""
        if len(self._monitors) == MAX_TRANSPORTS:
            self._close(min(self._monitors, key=lambda monitor: monitor.last_received_at))
        self._monitors.append(monitor)

    def path_restored(self) -> None:
        """Record that an outage is over."""
        for monitor in self._monitors:
            monitor.path_restored()

    def close_ended(self) -> None:
        """Close the connections that have ended, and those that carry no forwarded connection any more."""
        for monitor in list(self._monitors):
            if monitor.has_ended or not self._forwarder.has_connections(monitor.connection.port_transport):
                self._close(monitor)

    def check(self, path_seen_at: float) -> None:
        """Close the connections that have ended or can no longer deliver. Call about once a second.

        `path_seen_at` is when the current connection last received a packet, by time.monotonic(): only while that
        works, another one that is silent cannot deliver.
        """
        self.close_ended()
        for monitor in list(self._monitors):
            monitor.check()
            if path_seen_at > monitor.deadline or (
                path_seen_at > monitor.lost_at and not _has_local_address(monitor.connection)
            ):
                self._close(monitor)

    def close(self) -> None:
        """Close all connections."""
        for monitor in list(self._monitors):
            self._close(monitor)

    def _close(self, monitor: KeepaliveMonitor) -> None:
        self._monitors.remove(monitor)
        close(monitor.connection, self._forwarder)


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
