"""Whatever a server sends in the handshake and the login, the result is one UserError, and a tunnel tries again."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import paramiko
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paramiko.packet import Packetizer

from notebooks_over_ssh.errors import AuthenticationError, ConnectError
from tests.kit.sockets import accept_loop
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK, known_hosts_line

TIMEOUT_S = 10
Mutation = Callable[[bytes], bytes]
# The server's packets (RFC 4250, section 4.1.2) that can be replaced.
STAGES = {"KEXINIT": 20, "KEX_REPLY": 31, "NEWKEYS": 21, "SERVICE_ACCEPT": 6, "USERAUTH": 51}
PLAIN = ("KEXINIT", "KEX_REPLY", "NEWKEYS")
_Packetizer: Any = Packetizer
# The message numbers of RFC 4250, section 4.1.2, those of key exchange methods, and some unassigned ones.
KINDS = (
    *range(1, 9), *range(20, 22), *range(30, 42), *range(50, 54), *range(60, 67), *range(80, 83), *range(90, 101),
    192, 255,
)  # fmt: skip
BODIES = {
    "empty": b"",
    "one byte": b"\0",
    "no end": b"\xff" * 4,
    "not UTF-8": b"\0\0\0\x02" + b"\0\0\0\x04\xff\xfe\x80\xc0" * 4 + b"\0",
    "many": b"\0\0\0\0\xff\xff\xff\xff" + bytes(64),
}
RAW = {
    "no length": b"\0\0\0\0",
    "a length of 4 GB": b"\xff" * 4 + bytes(64),
    "padding only": b"\0\0\0\x0c\x0b" + bytes(11),
    "more padding than packet": b"\0\0\0\x0c\xff" + bytes(11),
    "noise": bytes(range(256)) * 8,
    "text": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


class _RefusingInterface(paramiko.ServerInterface):
    def get_allowed_auths(self, username: str) -> str:
        return "publickey"


class MalformedServer:
    """A server that follows the protocol except for one packet of the handshake or the login, which it replaces.

    It serves one client after the other, with the last mutation that was set.
    """

    def __init__(self) -> None:
        self.key = paramiko.ECDSAKey.generate()
        self.stage = 0
        self.mutate: Mutation = bytes
        self.raw = False
        self.was_mutated = False
        self.port = 0
        self._transports: list[Any] = []

    def mutate_next(self, stage: str, mutate: Mutation, *, raw: bool = False) -> None:
        """Replace the payload of that stage's packet with `mutate(payload)`, then close; `raw`: send bytes without a
        packet.
        """
        self.stage, self.mutate, self.raw, self.was_mutated = STAGES[stage], mutate, raw, False

    def close(self) -> None:
        """End the connections."""
        while self._transports:
            transport = self._transports.pop()
            transport.close()
            transport.join(TIMEOUT_S)

    def serve(self, peer: socket.socket) -> None:
        """Serve a new client, in place of the one before."""
        self.close()
        transport: Any = paramiko.Transport(peer, packetizer_class=_mutating_packetizer(self))
        transport.add_server_key(self.key)
        self._transports.append(transport)
        transport.start_server(event=threading.Event(), server=_RefusingInterface())


def _mutating_packetizer(server: MalformedServer) -> type:
    class MutatingPacketizer(_Packetizer):  # type: ignore[misc] # untyped
        def send_message(self, message: paramiko.Message) -> None:
            payload = message.asbytes()
            if payload[0] != server.stage:
                super().send_message(message)
                return
            server.was_mutated = True
            mutated = server.mutate(payload)
            if server.raw:
                self.write_all(mutated)
            else:
                super().send_message(paramiko.Message(mutated))
            raise EOFError

    return MutatingPacketizer


@pytest.fixture(scope="module")
def malformed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, MalformedServer]]:
    """A client, and the server, whose key it knows."""
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    listener = socket.create_server((LOOPBACK, 0))
    with (
        pytest.MonkeyPatch.context() as patch,
        closing(MalformedServer()) as server,
        accept_loop(listener, server.serve) as server.port,
    ):
        client = Client(tmp_path_factory.mktemp("malformed"), patch)
        client.write_known_hosts(
            known_hosts_line(server.port, f"{server.key.get_name()} {server.key.get_base64()}")
        )
        yield client, server
        client.close()
    logging.getLogger("paramiko").setLevel(logging.NOTSET)


def observed_error(
    malformed: tuple[Client, MalformedServer], stage: str, mutate: Mutation, *, raw: bool = False
) -> None:
    """Connect while the server replaces the packet of the stage; returns the error."""
    client, server = malformed
    server.mutate_next(stage, mutate, raw=raw)
    problem = client.connect_error(f"anybody@127.0.0.1:{server.port}")
    assert server.was_mutated
    if stage in PLAIN:
        # A packet that can be forged before the key exchange must not count as a refusal, which would end a tunnel.
        assert type(problem) is ConnectError, repr(problem)
    else:
        assert problem is None or type(problem) in (ConnectError, AuthenticationError), repr(problem)
    assert problem is None or problem.hint


def _send_raw(mutated: bytes) -> Mutation:
    return lambda _: mutated


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("stage", STAGES)
def test_every_message(malformed: tuple[Client, MalformedServer], stage: str, body: str) -> None:
    """Every message, malformed in every way, in place of every packet, is one error."""
    for kind in KINDS:
        mutated = bytes([kind]) + BODIES[body]
        observed_error(malformed, stage, _send_raw(mutated))


@pytest.mark.parametrize("raw", RAW)
@pytest.mark.parametrize("stage", STAGES)
def test_random_bytes(malformed: tuple[Client, MalformedServer], stage: str, raw: str) -> None:
    """Random bytes in place of a packet, before and after the key exchange, are one error."""
    observed_error(malformed, stage, _send_raw(RAW[raw]), raw=True)


@pytest.mark.parametrize("stage", STAGES)
@given(
    cut=st.integers(0, 2000),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=8)), max_size=3),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_packet(
    malformed: tuple[Client, MalformedServer], stage: str, cut: int, changes: list[tuple[int, bytes]]
) -> None:
    """The right packet, truncated or with some bytes changed, is one error."""

    def mutate(payload: bytes) -> bytes:
        mutated = bytearray(payload)
        for at, new in changes:
            at %= len(mutated)
            mutated[at : at + len(new)] = new
        return bytes(mutated[: max(1, cut % (len(mutated) + 1))])

    observed_error(malformed, stage, mutate)


def test_disconnect_in_another_encoding(malformed: tuple[Client, MalformedServer]) -> None:
    """DISCONNECT with a reason that is not UTF-8 is a disconnect like any other, before and after the key exchange."""
    disconnect = b"\x01\0\0\0\x02\0\0\0\x03\xff\xfeh\0\0\0\0"
    for stage in STAGES:
        observed_error(malformed, stage, _send_raw(disconnect))
