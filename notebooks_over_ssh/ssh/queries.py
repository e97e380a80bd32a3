"""Programs on the host that change nothing: one that was interrupted with another process's login is run again."""

import logging
from collections.abc import Callable
from typing import TypeVar

from notebooks_over_ssh.errors import ConnectError
from notebooks_over_ssh.ssh.connection import Connection, hops

# Names of programs. They are as safe to run twice as once: some write a file or start a kernel, and remove it. The one
# that reports a job's state is not among them, because tunnels run it too, and reconnect by themselves.
QUERIES = frozenset(
    {
        "estimate_start",
        "host_info",
        "kernel_smoke_test",
        "list_partitions",
        "security_status",
        "server_status",
    }
)
Reply = TypeVar("Reply")
_log = logging.getLogger(__name__)


class SharedLoginLost(ConnectError):
    """The connection was lost, and with it the login of another process, so logging in may help."""


def connection_lost_error(connection: Connection) -> ConnectError:
    """The error for a connection that was lost while a program ran."""
    is_shared = any(
        not hop.is_connected and getattr(hop.transport, "held_login", None) is not None
        for hop in hops(connection)
    )
    return (SharedLoginLost if is_shared else ConnectError)(
        f"the connection to {connection.original_host} was lost",
        hint="run it again: it continues with what was started",
    )


def run_query(connection: Connection, query: Callable[[], Reply]) -> Reply:
    """The result of `query`. If it raises SharedLoginLost, log in and call it once more. Raises a UserError."""
    try:
        return query()
    except SharedLoginLost:
        _log.debug("%s: the process with the login has ended; running it again", connection.original_host)
        connection.open()
        return query()
