"""The HTTP between one client of the plain port and the server. Does no I/O: bytes in, bytes out.

Both sides are parsed and written anew by h11, so what is ambiguous (RFC 9112, section 11.2) is refused or made
unambiguous. Bodies are relayed as they come; after an upgrade to WebSocket the bytes are relayed unchanged.
"""

import h11

from notebooks_over_ssh.tunnel.plain.credentials import CredentialExchange, Headers, PageTokens

# As Tornado's max_header_size.
MAX_HEAD_BYTES = 65536
# RFC 9110, section 7.6.1; Upgrade is passed on for WebSocket only.
HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"))
# A Connection header that names one of these does not remove it.
NOT_REMOVABLE = frozenset((b"host", b"content-length", b"transfer-encoding"))
# A page is rewritten, so it must not be compressed, and the server's validators do not fit it.
VALIDATORS = frozenset((b"etag", b"last-modified"))


class HTTPRelay:
    """One client's connection, and the server connections that serve it, one after another.

    After each call, the caller sends what is in `to_client` and `to_server`, opens a server connection if
    `needs_server`, closes the one it has if not `has_server`, and closes the client's if `is_closing`.
    """

    def __init__(self, port: int) -> None:
        """`port` is the plain port: a request for another Host is refused."""
        self.to_client = bytearray()
        self.to_server = bytearray()
        self.is_closing = False
        """Whether the client's connection should be closed once `to_client` has been sent."""
        self.is_aborted = False
        """Whether it should be reset instead, because a response is incomplete."""
        self._hosts = frozenset(f"{host}:{port}".encode() for host in ("127.0.0.1", "localhost", "[::1]"))
        self._client = h11.Connection(h11.SERVER, MAX_HEAD_BYTES)
        self._server: h11.Connection | None = None
        self._exchange: CredentialExchange | None = None
        self._waiting: h11.Request | None = None
        self._method = b""
        self._page: PageTokens | None = None
        self._is_raw = False
        self.requests = 0
        """How many requests the client has sent."""

    @property
    def needs_server(self) -> bool:
        """Whether a request waits for a server connection."""
        return self._waiting is not None

    @property
    def has_server(self) -> bool:
        """Whether the server connection is in use, or may be used again."""
        return self._server is not None

    @property
    def is_idle(self) -> bool:
        """Whether the client has to send the head of a request next."""
        return self._client.their_state is h11.IDLE and not self.is_closing

    @property
    def buffered_bytes(self) -> int:
        """How much has been received from the client and not been relayed yet."""
        return 0 if self._is_raw else len(self._client.trailing_data[0])

    def receive_from_client(self, data: bytes) -> None:
        """Process what the client has sent; b"" for the end of its data."""
        if self.is_closing:
            return
        if self._is_raw:
            self.to_server += data
            self.is_closing = not data
        else:
            self._client.receive_data(data)
            self._read_client()

    def receive_from_server(self, data: bytes) -> None:
        """Process what the server has sent; b"" for the end of its data."""
        if self._is_raw:
            self.to_client += data
            self.is_closing = self.is_closing or not data
        elif self._server is not None:
            self._server.receive_data(data)
            self._read_server(self._server)

    def server_connected(self, exchange: CredentialExchange) -> None:
        """Send the waiting request over a new server connection."""
        request, self._waiting = self._waiting, None
        if request is None:
            return
        self._server, self._exchange = h11.Connection(h11.CLIENT, MAX_HEAD_BYTES), exchange
        self._send_request(request)
        self._read_client()

    def fail(self, reason: str) -> None:
        """Answer the current request with 502 and the reason; if its response has begun, abort it."""
        self._drop_server()
        self._waiting = None
        if not self.is_idle:
            self._refuse(502, reason)

    def time_out(self) -> None:
        """Close the connection of a client that has not sent a whole request head in time."""
        if self.buffered_bytes:
            self._refuse(408, "the request was not sent in time")
        self.is_closing = True

    def refuse_connection(self) -> None:
        """Answer with 503, whatever the client sends, because there are too many connections."""
        self._refuse(503, "there are too many connections to this port")

    # ---- from the client ----

    def _read_client(self) -> None:
        while not (self.is_closing or self.needs_server or self._is_raw):
            if self._client.their_state is h11.MUST_CLOSE:
                return  # what a client sends after its last request is not read
            try:
                event = self._client.next_event()
            except h11.RemoteProtocolError as error:
                self._drop_server()
                self._refuse(error.error_status_hint, str(error))
                return
            match event:
                case h11.Request():
                    self._receive_request(event)
                case h11.Data():
                    self._send_to_server(h11.Data(data=event.data))
                case h11.EndOfMessage():
                    self._send_to_server(h11.EndOfMessage())
                case h11.ConnectionClosed():
                    # A client that has sent its request may end its data and wait for the response.
                    self.is_closing = self._client.our_state not in (h11.SEND_RESPONSE, h11.SEND_BODY)
                    return
                case _:  # NEED_DATA or PAUSED
                    return

    def _receive_request(self, request: h11.Request) -> None:
        self.requests += 1
        self._method = request.method
        headers = dict(request.headers)
        if headers.get(b"host", b"").lower() not in self._hosts:
            return self._refuse(403, "this port serves 127.0.0.1 and localhost only")
        if request.method == b"CONNECT" or not request.target.startswith(b"/"):
            return self._refuse(400, "the target of the request must begin with /")
        if b"transfer-encoding" in headers and b"content-length" in headers:
            return self._refuse(400, "the request has both Transfer-Encoding and Content-Length")
        if self._server is None:
            self._waiting = request
        else:
            self._send_request(request)

    def _send_request(self, request: h11.Request) -> None:
        assert self._exchange  # set with the connection
        headers = [
            (name, value) for name, value in _end_to_end(request) if name.lower() != b"accept-encoding"
        ]
        target, headers = self._exchange.request(request.target, headers)
        if _is_websocket(request):
            headers += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
        self._send_to_server(h11.Request(method=request.method, target=target, headers=headers))

    def _send_to_server(self, event: h11.Event) -> None:
        if self._server is not None:
            self.to_server += self._server.send(event) or b""

    # ---- from the server ----

    def _read_server(self, server: h11.Connection) -> None:
        while self._server is server and not self.is_closing:
            try:
                event = server.next_event()
            except h11.RemoteProtocolError:
                self.fail("the Jupyter server closed the connection, or sent no valid reply")
                return
            match event:
                case h11.InformationalResponse(status_code=101):
                    self._switch_protocol(server, event)
                    return
                case h11.InformationalResponse():
                    # RFC 9110, section 15.2: none to an HTTP/1.0 client.
                    if (
                        self._client.our_state is h11.SEND_RESPONSE
                        and self._client.their_http_version == b"1.1"
                    ):
                        headers = _end_to_end(event)
                        self._send_to_client(
                            h11.InformationalResponse(status_code=event.status_code, headers=headers)
                        )
                case h11.Response():
                    if self._client.our_state is not h11.SEND_RESPONSE:  # there was no request
                        self._drop_server()
                        return
                    self._send_response(event)
                case h11.Data():
                    data = self._page.feed(bytes(event.data)) if self._page else event.data
                    self._send_to_client(h11.Data(data=data))
                case h11.EndOfMessage():
                    if self._page:
                        self._send_to_client(h11.Data(data=self._page.end()))
                    self._send_to_client(h11.EndOfMessage())
                    self._end_cycle(server)
                case h11.ConnectionClosed():
                    self._drop_server()
                    return
                case _:  # NEED_DATA or PAUSED
                    return

    def _send_response(self, response: h11.Response) -> None:
        assert self._exchange  # set with the connection
        headers = self._exchange.response(_end_to_end(response))
        content_type = dict(response.headers).get(b"content-type", b"").lower()
        self._page = self._exchange.page() if content_type.startswith(b"text/html") else None
        if self._page:
            headers = [(name, value) for name, value in headers if name.lower() not in VALIDATORS]
        self._send_to_client(
            h11.Response(status_code=response.status_code, reason=response.reason, headers=headers)
        )

    def _end_cycle(self, server: h11.Connection) -> None:
        if self._client.our_state is not h11.DONE or self._client.their_state is not h11.DONE:
            # The client wants the connection closed, or the server did not wait for the end of the request's body.
            self.is_closing = True
            return
        if server.our_state is h11.DONE and server.their_state is h11.DONE:
            server.start_next_cycle()
        else:
            self._drop_server()
        self._client.start_next_cycle()
        self._read_client()

    def _switch_protocol(self, server: h11.Connection, response: h11.InformationalResponse) -> None:
        headers = [*_end_to_end(response), (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
        self._send_to_client(h11.InformationalResponse(status_code=101, headers=headers))
        self._is_raw = True
        client_data, client_ended = self._client.trailing_data
        server_data, server_ended = server.trailing_data
        self.to_server += client_data
        self.to_client += server_data
        self.is_closing = client_ended or server_ended

    def _send_to_client(self, event: h11.Event) -> None:
        self.to_client += self._client.send(event) or b""

    # ---- both ----

    def _refuse(self, status_code: int, reason: str) -> None:
        """Answer the current request in place of the server, and close the connection."""
        self.is_closing = True
        if self._client.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.is_aborted = True
            return
        body = f"{reason}\n".encode()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        self._send_to_client(h11.Response(status_code=status_code, headers=headers))
        if self._method != b"HEAD":
            self._send_to_client(h11.Data(data=body))
        self._send_to_client(h11.EndOfMessage())

    def _drop_server(self) -> None:
        self._server = self._exchange = self._page = None
        self.to_server.clear()


def _end_to_end(message: h11.Request | h11.Response | h11.InformationalResponse) -> Headers:
    """The headers that are not for one connection only."""
    removed = HOP_BY_HOP | _options(message, b"connection") - NOT_REMOVABLE
    return [(name, value) for name, value in message.headers.raw_items() if name.lower() not in removed]


def _is_websocket(request: h11.Request) -> bool:
    return b"upgrade" in _options(request, b"connection") and _options(request, b"upgrade") == {b"websocket"}


def _options(message: h11.Request | h11.Response | h11.InformationalResponse, header: bytes) -> set[bytes]:
    """The members of a list in a header, in lower case."""
    return {
        option.strip().lower()
        for name, value in message.headers
        if name == header
        for option in value.split(b",")
    }
