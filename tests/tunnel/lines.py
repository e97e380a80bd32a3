"""Two transports, one in the other, whose far end is bad, and the forwarder over both."""

import contextlib
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import paramiko
import pytest

from notebooks_over_ssh.ssh.protocol.jump_channel import Carrier
from notebooks_over_ssh.ssh.protocol.transport import Transport
from notebooks_over_ssh.tunnel import Forwarder, listen
from tests.openssh.network import LOOPBACK, free_port, known_hosts_line, wait_until
from tests.proofs.client import Client
from tests.proofs.impostor import Loop
from tests.tunnel.far_end import FarEnd, far_end
from tests.tunnel.hops import PATIENCE_S, answers, echo_server, read


@dataclass
class Lines:
    """A transport to a bad far end inside one to a good gateway, and a forwarder that uses both."""

    transport: Transport
    end: FarEnd
    port: int
    """The local port that leads to the bad end."""
    forwarder: Forwarder
    gateway: Transport
    echo: int

    def all_else_goes_on(self) -> None:
        """The gateway's transport lives, and so does the forwarder: it carries an echo through it."""
        assert self.gateway.is_active()
        with closing(self.forwarder.connect(self.gateway, self.echo)) as peer:
            peer.settimeout(PATIENCE_S)
            assert answers(peer)

    def ends_or_goes_on(self, peer: socket.socket, number: int) -> None:
        """Either the transport has ended, and its clients were told by a reset, or the stream still brings what is sent."""
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            self.end.data(number, b"still here")
        try:
            assert read(peer, 10) == b"still here"
        except ConnectionResetError:
            wait_until(lambda: not self.transport.is_active(), PATIENCE_S, "the transport has ended")
            assert not self.transport._streams


@pytest.fixture
def lines(client: Client, loop: Loop) -> Iterator[Lines]:
    """Both transports, and the forwarder."""
    gateway = client.server("gateway")
    client.know(known_hosts_line(gateway.port, gateway.public_key))
    with echo_server(loop) as echo, client.reached(gateway) as connection, far_end() as (port, end):
        carrier = Carrier(connection.transport, (LOOPBACK, port))
        carrier.connect(PATIENCE_S)
        transport = Transport(carrier)
        listener = listen(free_port())
        with closing(Forwarder([(listener, 1)])) as forwarder, closing(transport):
            transport.start_client(timeout=PATIENCE_S)
            transport.auth_none("anybody")
            forwarder.lead_through(transport)
            forwarder.accept()
            yield Lines(transport, end, listener.port, forwarder, connection.transport, echo)
