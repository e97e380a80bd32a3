"""Key exchanges during transfers, with every kind of cipher, lose, repeat or change no byte."""

import os
import socket
import threading
from typing import Any

import pytest

from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.protocol.packetizer import BlockPacketizer
from tests.kit.forwarding import ServeFunction
from tests.kit.sockets import TIMEOUT_S, dial, read_all
from tests.kit.ssh_client import Client
from tests.kit.two_hops import TwoHops, forwarding
from tests.kit.wait import wait_until

MB = 1024 * 1024
SIZE = 6 * MB
KINDS = {
    "gcm": ("Ciphers aes128-gcm@openssh.com",),
    "gcm-256": ("Ciphers aes256-gcm@openssh.com",),
    "chacha": ("Ciphers chacha20-poly1305@openssh.com",),
    "ctr-etm": ("Ciphers aes128-ctr", "MACs hmac-sha2-256-etm@openssh.com"),
    "ctr-etm-512": ("Ciphers aes256-ctr", "MACs hmac-sha2-512-etm@openssh.com"),
    "ctr": ("Ciphers aes192-ctr", "MACs hmac-sha2-256"),
    "ctr-512": ("Ciphers aes256-ctr", "MACs hmac-sha2-512"),
}


@pytest.fixture
def count_rekeys(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Count, for each packetizer, how often it started to read with new keys."""
    counted: dict[int, int] = {}
    take = BlockPacketizer.set_inbound_cipher

    def count(self: Any, *arguments: Any, **more: Any) -> None:
        counted[id(self)] = counted.get(id(self), 0) + 1
        take(self, *arguments, **more)

    monkeypatch.setattr(BlockPacketizer, "set_inbound_cipher", count)
    return counted


def exchange(connection: Connection, serve: ServeFunction, upload: bytes, download: bytes) -> None:
    """Send all of `here` while all of `there` arrives; both must arrive complete."""
    received: list[bytes] = []

    def send(peer: socket.socket, data: bytes) -> None:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)

    def talk(peer: socket.socket) -> None:
        speaking = threading.Thread(target=send, args=(peer, download))
        speaking.start()
        received.append(read_all(peer))
        speaking.join(TIMEOUT_S)

    with forwarding(connection, serve(talk)) as (_, (port,)), dial(port) as peer:
        speaking = threading.Thread(target=send, args=(peer, upload))
        speaking.start()
        assert read_all(peer) == download
        speaking.join(TIMEOUT_S)
        assert not speaking.is_alive()
        peer.close()
        wait_until(lambda: received, "the target has received everything")
    assert received == [upload]


@pytest.mark.parametrize("compress", [False, True], ids=["", "compressed"])
@pytest.mark.parametrize("kind", KINDS)
def test_servers_rekey(
    client: Client, serve: ServeFunction, count_rekeys: dict[int, int], kind: str, compress: bool
) -> None:
    """Both servers start a key exchange after each MB, during two transfers in opposite directions."""
    hops = TwoHops(client, "RekeyLimit 1M", "Compression yes", *KINDS[kind])
    # Partly compressible, partly not.
    upload, download = os.urandom(SIZE // 2) + b"here " * (SIZE // 10), os.urandom(SIZE)
    with hops.connected(compress=compress) as connection:
        transport = connection.transport
        assert transport.remote_cipher in KINDS[kind][0]
        assert (transport.remote_compression != "none") == compress
        exchange(connection, serve, upload, download)
        for hop in (connection, connection.gateway):
            assert count_rekeys[id(hop.transport.packetizer)] >= 3
            assert hop.is_connected


def test_client_rekeys(
    client: Client, serve: ServeFunction, count_rekeys: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client starts one, by the bytes received and by the bytes sent."""
    monkeypatch.setattr(BlockPacketizer, "REKEY_BYTES", MB)
    with TwoHops(client).connected() as connection:
        exchange(connection, serve, b"", os.urandom(SIZE))
        after_download = {hop: count_rekeys[id(hop.transport.packetizer)] for hop in both(connection)}
        exchange(connection, serve, os.urandom(SIZE), b"")
        for hop in both(connection):
            assert after_download[hop] >= 2
            assert count_rekeys[id(hop.transport.packetizer)] > after_download[hop]
        exchange(connection, serve, os.urandom(SIZE), os.urandom(SIZE))


def test_rekey_after_an_hour(
    client: Client, serve: ServeFunction, count_rekeys: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client starts one after an hour, if there is any traffic at all."""
    monkeypatch.setattr(BlockPacketizer, "REKEY_AFTER", 0.2)
    with TwoHops(client).connected() as connection:
        for _ in range(3):
            before = dict(count_rekeys)

            def are_new(before: dict[int, int] = before) -> bool:
                exchange(connection, serve, b"here", b"there")
                return all(
                    count_rekeys[id(hop.transport.packetizer)] > before[id(hop.transport.packetizer)]
                    for hop in both(connection)
                )

            wait_until(are_new, "both have new keys")


def test_everyone_rekeys(
    client: Client, serve: ServeFunction, count_rekeys: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both servers and the client start key exchanges all the time, often at the same moment."""
    monkeypatch.setattr(BlockPacketizer, "REKEY_BYTES", MB)
    with TwoHops(client, "RekeyLimit 1M").connected() as connection:
        for _ in range(3):
            exchange(connection, serve, os.urandom(SIZE), os.urandom(SIZE))
        assert all(count_rekeys[id(hop.transport.packetizer)] >= 6 for hop in both(connection))


def both(connection: Connection) -> tuple[Connection, Connection]:
    """The Connections to the host and to the gateway."""
    return connection, connection.gateway
