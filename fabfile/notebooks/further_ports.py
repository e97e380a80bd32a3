"""Further ports of the host: unlike the server's, they have no certificate by which to know whose they are."""

from collections.abc import Sequence

import msgspec

from fabfile.errors import RemoteFailed
from fabfile.notebooks.answers import checked
from fabfile.ssh.connection import Connection
from fabfile.ssh.remote import run_program

TIMEOUT_S = 30


class Listeners(msgspec.Struct, frozen=True):
    """The ports on which another person listens."""

    taken: tuple[int, ...]


def refuse_those_of_others(connection: Connection, ports: Sequence[int]) -> None:
    """Raise RemoteFailed when another person of the host listens on one of them."""
    if not ports:
        return
    answer = run_program(connection, "who_listens", {"ports": list(ports)}, timeout_s=TIMEOUT_S)
    taken = checked(answer, Listeners).taken
    if taken:
        raise RemoteFailed(
            f"on port {taken[0]} of {connection.label} another person's program listens",
            hint="have yours listen on a port of its own, and name that with --also",
        )
