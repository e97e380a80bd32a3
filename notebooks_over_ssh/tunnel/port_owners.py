"""Further ports of the host: unlike the server's, they have no certificate by which to know whose they are."""

from collections.abc import Sequence

import msgspec

from notebooks_over_ssh.errors import RemoteFailed
from notebooks_over_ssh.jupyter.remote_result import checked
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.remote import run_program

TIMEOUT_S = 30


class Listeners(msgspec.Struct, frozen=True):
    """Each port on which another account listens, with its user ID."""

    taken: tuple[tuple[int, int], ...]


def refuse_those_of_others(connection: Connection, ports: Sequence[int]) -> None:
    """Raise RemoteFailed when another account of the host, other than root, listens on one of them."""
    if not ports:
        return
    answer = run_program(connection, "port_owners", {"ports": list(ports)}, timeout_s=TIMEOUT_S)
    taken = checked(answer, Listeners).taken
    if taken:
        port, user = taken[0]
        raise RemoteFailed(
            f"a program of another account (user ID {user}) listens on port {port} of {connection.label}",
            hint="have yours listen on a port of its own, and name that with --forward",
        )
