"""Connections that fell silent, and what they carry: kept until it is clear that nothing comes through them any more.

TCP sends what is not acknowledged again at intervals that double (RFC 6298, section 5.5). So after an outage a path may
need as long as that has lasted until its data arrives, when a new connection has long been made.
"""

import socket
import time
from dataclasses import dataclass

from notebooks_over_ssh.ssh import connection as ssh
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tunnel import Forwarder
from notebooks_over_ssh.tunnel.keepalive import Watch

# An outage that is longer counts as one of this length.
LONGEST_OUTAGE_S = 60.0
GRACE_S = 5.0
MOST_KEPT = 4


@dataclass
class _Old:
    watch: Watch
    silent_at: float
    """When it was heard last before it was replaced."""
    until: float


class OldPaths:
    """The connections whose place another has taken."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self._kept: list[_Old] = []

    def keep(self, watch: Watch) -> None:
        """Keep a connection as long as what it carries may come through."""
        now = time.monotonic()
        outage_s = min(now - watch.heard_at, LONGEST_OUTAGE_S)
        self._kept.append(_Old(watch, watch.heard_at, now + outage_s + GRACE_S))
        while len(self._kept) > MOST_KEPT:
            self._close(self._kept[0])

    def look(self) -> None:
        """Close those that are over; to be called about once a second."""
        for old in list(self._kept):
            if old.watch.has_ended or not self._forwarder.carries(old.watch.connection.port_transport):
                self._close(old)
            elif old.watch.heard_at > old.silent_at:
                if old.watch.look():
                    self._close(old)
            elif time.monotonic() > old.until or not _has_its_address(old.watch.connection):
                self._close(old)

    def close(self) -> None:
        """Close all."""
        for old in list(self._kept):
            self._close(old)

    def _close(self, old: _Old) -> None:
        self._kept.remove(old)
        close(old.watch.connection, self._forwarder)


def close(connection: Connection, forwarder: Forwarder) -> None:
    """Close a connection and reset what it carries."""
    ssh.close(connection)
    forwarder.drop(connection.port_transport)


def _has_its_address(connection: Connection) -> bool:
    """Whether this machine still has the address that the connection goes out from: without, nothing can come back."""
    source = getattr(ssh.hops(connection)[0].transport, "sock", None)
    if not isinstance(source, socket.socket) or source.family not in (socket.AF_INET, socket.AF_INET6):
        return True
    try:
        address = source.getsockname()
        with socket.socket(source.family, socket.SOCK_STREAM) as probe:
            probe.bind((address[0], 0, *address[2:]))
    except OSError:
        return False
    return True
