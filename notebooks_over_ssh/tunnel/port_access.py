"""Getting to the server's port on the host: by forwarding, or by a program there where the host forbids forwarding."""

from functools import partial

from notebooks_over_ssh.errors import RemoteFailed
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.jupyter.verification import prove
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tunnel import Forwarder
from notebooks_over_ssh.tunnel.relay import forwarding_refusal, go_through_a_program


def prove_through(
    session: Session, connection: Connection, forwarder: Forwarder, timeout: float
) -> tuple[str, float | None]:
    """Have the server prove itself over the connection.

    Returns why the host forbids forwarding, "" where it does not, and what `prove` returns.

    From then on `connection.port_transport` is what leads to the host's ports. `timeout` is in seconds. Raises RemoteFailed, and
    CannotConnect where nothing leads there.
    """
    refusal = ""
    try:
        ahead = _prove(session, connection, forwarder, timeout)
    except RemoteFailed:
        # A refusal is looked for only now: where all is well it would be one more round trip.
        refusal = forwarding_refusal(connection, session.remote_port) if connection.is_connected else ""
        if not refusal:
            raise
        go_through_a_program(connection, refusal)
        ahead = _prove(session, connection, forwarder, timeout)
    return refusal, ahead


def _prove(session: Session, connection: Connection, forwarder: Forwarder, timeout: float) -> float | None:
    return prove(session, partial(forwarder.connect, connection.port_transport, session.remote_port), timeout)
