"""On a host with dropbear that forbids forwarding, a program relays connections."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from notebooks_over_ssh.tunnel.relay import forwarding_refusal, use_relay
from tests.kit.forwarding import ServeFunction
from tests.kit.gateway_servers import Dropbear, find_program
from tests.kit.sockets import dial, echo, echoes
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK
from tests.kit.two_hops import forwarding


@pytest.fixture
def dropbear(client: Client, tmp_path: Path) -> Iterator[Dropbear]:
    """A host that opens no direct-tcpip channel (-j in dropbear(8))."""
    for program in ("dropbear", "dropbearconvert", "unshare"):
        if not find_program(program):
            pytest.skip(f"needs the program {program}")
    if os.geteuid() != 0:
        pytest.skip("needs root, to give dropbear a home of its own")
    server = Dropbear("host", tmp_path / "dropbear", client.authorized_keys, "-j")
    server.start()
    try:
        client.write_known_hosts(server.known_hosts_line)
        yield server
    finally:
        server.stop()


def test_relay(client: Client, dropbear: Dropbear, serve: ServeFunction) -> None:
    """The refusal is reported with its reason, and the connection works."""
    with client.connected(f"{LOOPBACK}:{dropbear.port}") as connection:
        refusal = forwarding_refusal(connection, 1)
        assert refusal == "administratively prohibited"
        use_relay(connection, refusal)
        with forwarding(connection, serve(echo)) as (_, (port,)), dial(port) as peer:
            assert echoes(peer)
