"""A transport to a scripted peer, nested in one to a real gateway, and a forwarder over it."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from notebooks_over_ssh.ssh.protocol.jump_channel import JumpChannel
from notebooks_over_ssh.ssh.protocol.transport import Transport
from notebooks_over_ssh.tunnel import Forwarder, listen
from tests.kit.mitm_sshd import AsyncioThread
from tests.kit.ports import free_port
from tests.kit.scripted_peer import ScriptedPeer, scripted_peer
from tests.kit.sockets import TIMEOUT_S, echoes
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK
from tests.kit.two_hops import echo_server


@dataclass
class NestedTransports:
    """A transport to a scripted peer inside one to a real gateway, and a forwarder that uses both."""

    transport: Transport
    peer: ScriptedPeer
    port: int
    """The local port that leads to the bad end."""
    forwarder: Forwarder
    gateway: Transport
    echo: int

    def assert_others_work(self) -> None:
        """The gateway's transport and the forwarder still work: an echo through them comes back."""
        assert self.gateway.is_active()
        with closing(self.forwarder.open_connection(self.gateway, self.echo)) as client:
            client.settimeout(TIMEOUT_S)
            assert echoes(client)


@pytest.fixture
def nested(client: Client, loop: AsyncioThread) -> Iterator[NestedTransports]:
    """Both transports, and the forwarder."""
    gateway = client.server("gateway")
    client.write_known_hosts(gateway.known_hosts_line)
    with echo_server(loop) as echo, client.connected(gateway) as connection, scripted_peer() as (port, peer):
        jump_channel = JumpChannel(connection.transport, (LOOPBACK, port))
        jump_channel.connect(TIMEOUT_S)
        transport = Transport(jump_channel)
        listener = listen(free_port())
        with closing(Forwarder([(listener, 1)])) as forwarder, closing(transport):
            transport.start_client(timeout=TIMEOUT_S)
            transport.auth_none("anybody")
            forwarder.set_transport(transport)
            forwarder.start()
            yield NestedTransports(transport, peer, listener.port, forwarder, connection.transport, echo)
