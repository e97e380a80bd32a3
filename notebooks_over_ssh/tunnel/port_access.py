"""Connects to the server's port on the host: by direct-tcpip channels, or a relay if the host forbids forwarding."""

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
    """Verify the server over the connection, and set its `port_transport` to a relay if the host forbids forwarding.

    `timeout` is in seconds. Returns why the host forbids forwarding ("" if it does not), and what `verify_server`
    returns. Raises RemoteError, and ConnectError if the connection is lost or the relay cannot run.
    """
    refusal = ""
    try:
        clock_offset_s = _verify(session, connection, forwarder, timeout)
    except RemoteError:
        # Test for a refusal only after a failure: it costs a round trip.
        may_be_refused = connection.is_connected and connection.port_transport is connection.transport
        refusal = forwarding_refusal(connection, session.remote_port) if may_be_refused else ""
        if not refusal:
            raise
        use_relay(connection, refusal)
        clock_offset_s = _verify(session, connection, forwarder, timeout)
    return refusal, clock_offset_s


def _verify(session: Session, connection: Connection, forwarder: Forwarder, timeout: float) -> float | None:
    return verify_server(
        session, partial(forwarder.open_connection, connection.port_transport, session.remote_port), timeout
    )
