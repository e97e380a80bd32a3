"""Checks who listens on the ports of `--forward`, which, unlike the server, present no certificate to verify."""

from collections.abc import Sequence

import msgspec

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.jupyter.remote_result import decode
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.remote import run_program

TIMEOUT_S = 30


class ForeignListeners(msgspec.Struct, frozen=True):
    """Whether the host shows who listens, and each port on which another account does, with its user ID."""

    is_known: bool
    foreign: tuple[tuple[int, int], ...]


def check_port_owners(connection: Connection, ports: Sequence[int]) -> None:
    """Raise RemoteError if an account of the host other than the user's and root listens on one of the ports.

    Also raises it if the host does not show who listens.
    """
    if not ports:
        return
    reply = run_program(connection, "port_owners", {"ports": list(ports)}, timeout_s=TIMEOUT_S)
    listeners = decode(reply, ForeignListeners)
    if not listeners.is_known:
        raise RemoteError(
            f"{connection.label} does not show whose programs listen on its ports: /proc/net/tcp cannot be read",
            hint="do without --forward and notebook.forward on this host",
        )
    if listeners.foreign:
        port, user = listeners.foreign[0]
        raise RemoteError(
            f"a program of another account (user ID {user}) listens on port {port} of {connection.label}",
            hint="run yours on another port, and name that with --forward",
        )
