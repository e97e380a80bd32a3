"""A server that keeps to the protocol up to one packet of the handshake or the login, which it spoils."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import paramiko
from paramiko.packet import Packetizer

from tests.openssh.network import LOOPBACK

PATIENCE_S = 10
Spoil = Callable[[bytes], bytes]
# The packets of a server (RFC 4250, section 4.1.2) in whose place something else is sent.
STAGES = {"KEXINIT": 20, "KEX_REPLY": 31, "NEWKEYS": 21, "SERVICE_ACCEPT": 6, "USERAUTH": 51}
PLAIN = ("KEXINIT", "KEX_REPLY", "NEWKEYS")
_Packetizer: Any = Packetizer


class _Refuses(paramiko.ServerInterface):
    def get_allowed_auths(self, username: str) -> str:
        return "publickey"


class MalformedServer:
    """Serves one client after the other; each is treated as `spoil_next` said last."""

    def __init__(self) -> None:
        self.key = paramiko.ECDSAKey.generate()
        self.stage = 0
        self.spoil: Spoil = bytes
        self.raw = False
        self.was_spoilt = False
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listening.getsockname()[1]
        self._transports: list[Any] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def spoil_next(self, stage: str, spoil: Spoil, *, raw: bool = False) -> None:
        """Send, in place of the packet of that stage, what is made of its payload, and close; `raw`: bytes, no packet."""
        self.stage, self.spoil, self.raw, self.was_spoilt = STAGES[stage], spoil, raw, False

    def close(self) -> None:
        """Serve nobody any more."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(PATIENCE_S)
        self._end_the_last()

    def _end_the_last(self) -> None:
        while self._transports:
            transport = self._transports.pop()
            transport.close()
            transport.join(PATIENCE_S)

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listening.accept()
            except OSError:
                return
            self._end_the_last()
            transport: Any = paramiko.Transport(peer, packetizer_class=_spoiling(self))
            transport.add_server_key(self.key)
            self._transports.append(transport)
            transport.start_server(event=threading.Event(), server=_Refuses())


def _spoiling(server: MalformedServer) -> type:
    class Spoiling(_Packetizer):  # type: ignore[misc] # untyped
        def send_message(self, message: paramiko.Message) -> None:
            payload = message.asbytes()
            if payload[0] != server.stage:
                super().send_message(message)
                return
            server.was_spoilt = True
            spoilt = server.spoil(payload)
            if server.raw:
                self.write_all(spoilt)
            else:
                super().send_message(paramiko.Message(spoilt))
            raise EOFError

    return Spoiling


@contextlib.contextmanager
def malformed_server() -> Iterator[MalformedServer]:
    """The server, until the end of the block."""
    server = MalformedServer()
    try:
        yield server
    finally:
        server.close()
