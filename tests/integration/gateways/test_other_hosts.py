"""On a host with dropbear or tinysshd, which open no port, a program relays connections."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from notebooks_over_ssh.tunnel.relay import forwarding_refusal, use_relay
from tests.kit.forwarding import ServeFunction
from tests.kit.gateway_servers import Dropbear, ServerWithHome, Tinysshd, find_program
from tests.kit.sockets import dial, echo, echoes
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK
from tests.kit.two_hops import forwarding

PROGRAMS = {
    "dropbear": ("dropbear", "dropbearconvert", "unshare"),
    "tinysshd": ("tinysshd", "tinysshd-makekey", "tcpserver", "unshare"),
}


@pytest.fixture(params=PROGRAMS)
def other_host(request: pytest.FixtureRequest, client: Client, tmp_path: Path) -> Iterator[ServerWithHome]:
    """A host that opens no direct-tcpip channel (-j in dropbear(8)); tinysshd has none."""
    for program in PROGRAMS[request.param]:
        if not find_program(program):
            pytest.skip(f"needs the program {program}")
    if os.geteuid() != 0:
        pytest.skip("needs root, to give the account a home of its own")
    folder, keys = tmp_path / "other_host", client.authorized_keys
    server = (
        Dropbear("host", folder, keys, "-j")
        if request.param == "dropbear"
        else Tinysshd("host", folder, keys)
    )
    server.start()
    try:
        client.write_known_hosts(server.known_hosts_line)
        yield server
    finally:
        server.stop()


def test_relay(client: Client, other_host: ServerWithHome, serve: ServeFunction) -> None:
    """The refusal is reported with its reason, and the connection works."""
    with client.connected(f"{LOOPBACK}:{other_host.port}") as connection:
        assert connection.transport.remote_cipher == "chacha20-poly1305@openssh.com"
        refusal = forwarding_refusal(connection, 1)
        assert refusal == "administratively prohibited"
        use_relay(connection, refusal)
        with forwarding(connection, serve(echo)) as (_, (port,)), dial(port) as peer:
            assert echoes(peer)
