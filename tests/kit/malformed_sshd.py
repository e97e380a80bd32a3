"""A server that follows the protocol except for one packet of the handshake or the login, which it replaces."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import paramiko
from paramiko.packet import Packetizer

from tests.kit.sockets import LOOPBACK, accept_loop

TIMEOUT_S = 10
Mutation = Callable[[bytes], bytes]
# The server's packets (RFC 4250, section 4.1.2) that can be replaced.
STAGES = {"KEXINIT": 20, "KEX_REPLY": 31, "NEWKEYS": 21, "SERVICE_ACCEPT": 6, "USERAUTH": 51}
PLAIN = ("KEXINIT", "KEX_REPLY", "NEWKEYS")
_Packetizer: Any = Packetizer


class _RefusingInterface(paramiko.ServerInterface):
    def get_allowed_auths(self, username: str) -> str:
        return "publickey"


class MalformedServer:
    """Serves one client after the other, with the last mutation that was set."""

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

    def close_transports(self) -> None:
        """End the connections."""
        while self._transports:
            transport = self._transports.pop()
            transport.close()
            transport.join(TIMEOUT_S)

    def serve(self, peer: socket.socket) -> None:
        """Serve a new client, in place of the one before."""
        self.close_transports()
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


@contextlib.contextmanager
def malformed_server() -> Iterator[MalformedServer]:
    """The server, until the end of the block."""
    server = MalformedServer()
    try:
        with accept_loop(socket.create_server((LOOPBACK, 0)), server.serve) as server.port:
            yield server
    finally:
        server.close_transports()
