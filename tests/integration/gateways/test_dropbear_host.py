"""A host with dropbear that forbids forwarding runs the program that carries connections."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from notebooks_over_ssh.tunnel.relay import forwarding_refusal, use_relay
from tests.kit.forwarding import ServeFunction
from tests.kit.gateway_servers import Dropbear, find_program
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK, known_hosts_line
from tests.kit.two_hops import dial, echoes, forwarding


@pytest.fixture
def dropbear(client: Client, tmp_path: Path) -> Iterator[Dropbear]:
    """One that opens no channel to a port (-j in dropbear(8))."""
    for program in ("dropbear", "dropbearconvert", "unshare"):
        if not find_program(program):
            pytest.skip(f"needs the program {program}")
    if os.geteuid() != 0:
        pytest.skip("needs root, to give dropbear a home of its own")
    server = Dropbear("host", tmp_path / "dropbear", client.authorized_keys, "-j")
    server.start()
    try:
        client.write_known_hosts(known_hosts_line(server.port, server.public_key))
        yield server
    finally:
        server.stop()


def echo(peer: socket.socket) -> None:
    """Send back what comes, and end when it ends."""
    while block := peer.recv(65536):
        peer.sendall(block)


def test_a_program_carries_connections(client: Client, dropbear: Dropbear, serve: ServeFunction) -> None:
    """The refusal is told by its reason, and the connection works all the same."""
    with client.connected(f"{LOOPBACK}:{dropbear.port}") as connection:
        refusal = forwarding_refusal(connection, 1)
        assert refusal == "administratively prohibited"
        use_relay(connection, refusal)
        with forwarding(connection, serve(echo)) as (_, (port,)), dial(port) as peer:
            assert echoes(peer)
