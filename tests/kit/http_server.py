"""The two ends of an HTTPRelay without sockets: a client that sends bytes, and a server that answers requests."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import h11

from notebooks_over_ssh.tunnel.plain.cookies import CookieSeal
from notebooks_over_ssh.tunnel.plain.credentials import CredentialExchange
from notebooks_over_ssh.tunnel.plain.http_relay import HTTPRelay

PORT = 8890
HOST = f"Host: 127.0.0.1:{PORT}\r\n".encode()
PLAIN_TOKEN, SERVER_TOKEN = "a1" * 24, "5e" * 24


@dataclass
class ReceivedRequest:
    """A request that the server has received as a whole."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""

    def header(self, name: bytes) -> list[bytes]:
        """The values of a header, by its name in lower case."""
        return [value for key, value in self.headers if key == name]


Answer = Callable[[ReceivedRequest], bytes]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class RelayedExchange:
    """Feeds an HTTPRelay, and answers each complete request that comes out of it."""

    answer: Answer = lambda _: OK
    block_bytes: int = 1 << 20
    """How many bytes of an answer the relay gets at a time."""
    relay: HTTPRelay = field(default_factory=lambda: HTTPRelay(PORT))
    requests: list[ReceivedRequest] = field(default_factory=list)
    to_client: bytearray = field(default_factory=bytearray)
    connections: int = 0
    """How many server connections the relay has used."""

    def __post_init__(self) -> None:
        self._cookies = CookieSeal()
        self._server: h11.Connection | None = None
        self._partial: ReceivedRequest | None = None

    def send(self, *blocks: bytes) -> bytes:
        """Send these bytes as the client; returns everything that the client has received so far."""
        for block in blocks:
            self.relay.receive_from_client(block)
            self.relay_all()
        return bytes(self.to_client)

    def reply(self, data: bytes) -> bytes:
        """Send these bytes as the server; returns everything that the client has received so far."""
        for start in range(0, len(data), self.block_bytes):
            self.relay.receive_from_server(data[start : start + self.block_bytes])
            self._take_client()
        if not data:
            self.relay.receive_from_server(b"")
        self.relay_all()
        return bytes(self.to_client)

    def relay_all(self) -> None:
        """Do what the relay asks for."""
        while True:
            self._take_client()
            if not self.relay.has_server:
                self._server = None
            if self.relay.needs_server:
                self.connections += 1
                self._server = h11.Connection(h11.SERVER)
                self.relay.server_connected(CredentialExchange(PLAIN_TOKEN, SERVER_TOKEN, self._cookies))
                continue
            if not self.relay.to_server or self._server is None:
                return
            data = bytes(self.relay.to_server)
            self.relay.to_server.clear()
            self._server.receive_data(data)
            for request in self._received(self._server):
                self.requests.append(request)
                if answer := self.answer(request):
                    self.reply(answer)

    def _take_client(self) -> None:
        self.to_client += self.relay.to_client
        self.relay.to_client.clear()

    def _received(self, server: h11.Connection) -> Iterable[ReceivedRequest]:
        while True:
            match server.next_event():
                case h11.Request() as request:
                    self._partial = ReceivedRequest(request.method, request.target, list(request.headers))
                case h11.Data() as data:
                    assert self._partial
                    self._partial.body += bytes(data.data)
                case h11.EndOfMessage():
                    assert self._partial
                    # The server's own side is not simulated: only the requests are parsed.
                    if server.their_state is not h11.MUST_CLOSE:
                        server.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                        server.send(h11.EndOfMessage())
                        server.start_next_cycle()
                    yield self._partial
                case _:
                    return


def responses(data: bytes, methods: Iterable[bytes]) -> list[tuple[int, dict[bytes, bytes], bytes]]:
    """Parse what a client has received: the status, headers and body of the response to each request."""
    client = h11.Connection(h11.CLIENT)
    client.receive_data(data)
    parsed: list[tuple[int, dict[bytes, bytes], bytes]] = []
    for method in methods:
        client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        status, headers, body = 0, {}, b""
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            match event:
                case h11.Response():
                    status, headers = event.status_code, dict(event.headers)
                case h11.Data():
                    body += bytes(event.data)
                case h11.InformationalResponse():
                    pass
                case _:
                    raise AssertionError(f"the response is incomplete: {data!r}")
        parsed.append((status, headers, body))
        if client.our_state is h11.DONE and client.their_state is h11.DONE:
            client.start_next_cycle()
    return parsed
