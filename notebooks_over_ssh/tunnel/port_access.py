"""Getting to the server's port on the host: by forwarding, or by a program there where the host forbids forwarding."""

from functools import partial

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.jupyter.verification import verify_server
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tunnel import Forwarder
from notebooks_over_ssh.tunnel.relay import forwarding_refusal, use_relay


def verify_over(
    session: Session, connection: Connection, forwarder: Forwarder, timeout: float
) -> tuple[str, float | None]:
    """Have the server prove itself over the connection.

    Returns why the host forbids forwarding, "" where it does not, and what `verify_server` returns.

    From then on `connection.port_transport` is what leads to the host's ports. `timeout` is in seconds. Raises RemoteError, and
    ConnectError where nothing leads there.
    """
    refusal = ""
    try:
        clock_offset_s = _verify(session, connection, forwarder, timeout)
    except RemoteError:
        # A refusal is looked for only now: where all is well it would be one more round trip.
        refusal = forwarding_refusal(connection, session.remote_port) if connection.is_connected else ""
        if not refusal:
            raise
        use_relay(connection, refusal)
        clock_offset_s = _verify(session, connection, forwarder, timeout)
    return refusal, clock_offset_s


def _verify(session: Session, connection: Connection, forwarder: Forwarder, timeout: float) -> float | None:
    return verify_server(
        session, partial(forwarder.open_connection, connection.port_transport, session.remote_port), timeout
    )
