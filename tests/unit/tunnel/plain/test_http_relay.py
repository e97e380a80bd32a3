"""The HTTP between a client of the plain port and the server."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notebooks_over_ssh.tunnel.plain.http_relay import MAX_HEAD_BYTES
from tests.kit.http_server import (
    HOST,
    OK,
    PLAIN_TOKEN,
    SERVER_TOKEN,
    ReceivedRequest,
    RelayedExchange,
    responses,
)

PLAIN, SERVER = PLAIN_TOKEN.encode(), SERVER_TOKEN.encode()
GET = b"GET /api HTTP/1.1\r\n" + HOST + b"\r\n"
UPGRADE = (
    b"GET /channels?token=" + PLAIN + b" HTTP/1.1\r\n" + HOST + b"Connection: keep-alive, Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX: y\r\n\r\n"


def post(body: bytes, *, chunked: bool) -> bytes:
    """A request with this body."""
    head = b"POST /api HTTP/1.1\r\n" + HOST
    if not chunked:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    middle = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:middle], body[middle:]) if part)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX-Trailer: x\r\n\r\n"


def echo(request: ReceivedRequest) -> bytes:
    """A response with the request's body, of one of three framings; to GET a page with the server's token."""
    if request.method == b"GET":
        page = b"<p>" + SERVER + b"</p>"
        return (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nETag: x\r\nContent-Length: %d\r\n\r\n" % len(page)
            + page
        )
    if len(request.body) % 2:
        return b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(request.body) + request.body
    chunk = b"%x\r\n%s\r\n" % (len(request.body), request.body) if request.body else b""
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"


@given(
    st.lists(st.one_of(st.none(), st.tuples(st.binary(max_size=200), st.booleans())), min_size=1, max_size=5),
    st.data(),
    st.integers(1, 300),
)
def test_any_split(bodies: list[tuple[bytes, bool] | None], data: st.DataObject, block_bytes: int) -> None:
    """However requests, pipelined ones too, and responses are split, each arrives once, in order, and whole."""
    sent = b"".join(GET if body is None else post(body[0], chunked=body[1]) for body in bodies)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=20)))
    exchange = RelayedExchange(echo, block_bytes)
    received = exchange.send(*(sent[a:b] for a, b in pairwise([0, *cuts, len(sent)])))
    expected = [b"" if body is None else body[0] for body in bodies]
    assert [request.body for request in exchange.requests] == expected
    methods = [b"GET" if body is None else b"POST" for body in bodies]
    relayed = [body for _, _, body in responses(received, methods)]
    assert relayed == [
        b"<p>" + PLAIN + b"</p>" if body is None else sent_body
        for body, sent_body in zip(bodies, expected, strict=True)
    ]
    assert exchange.connections == 1 and exchange.relay.is_idle


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Content-Length: 1\r\nContent-Length: 2\r\n", 400),
        (b"Content-Length: 1, 2\r\n", 400),
        (b"Content-Length: -1\r\n", 400),
        (b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 501),
        (b"Transfer-Encoding: gzip, chunked\r\n", 501),
        (b"Transfer-Encoding : chunked\r\n", 400),
        (b"X: a\x00b\r\n", 400),
        (b"X: a\rTransfer-Encoding: chunked\r\n", 400),
        (HOST, 400),
        (b"X: " + b"x" * 2 * MAX_HEAD_BYTES + b"\r\n", 431),
    ],
    ids=str,
)
def test_refused_heads(headers: bytes, status: int) -> None:
    """A request whose framing is ambiguous, or whose head is malformed or too long, is refused; nothing is relayed."""
    exchange = RelayedExchange()
    head = b"POST / HTTP/1.1\r\n" + HOST + headers
    received = exchange.send(head, b"\r\n1\r\nx\r\n0\r\n\r\n" + GET)
    assert [(got, exchange.relay.is_closing) for got, _, _ in responses(received, [b"POST"])] == [
        (status, True)
    ]
    assert exchange.requests == [] and exchange.connections == 0


def test_endless_head() -> None:
    """A head without end is refused once it is too long, with a bounded buffer."""
    exchange = RelayedExchange()
    exchange.send(b"GET / HTTP/1.1\r\n" + HOST)
    sent = 0
    while not exchange.relay.is_closing:
        exchange.send(b"X: " + b"x" * 997)
        sent += 1000
        assert sent < 2 * MAX_HEAD_BYTES
    assert responses(bytes(exchange.to_client), [b"GET"])[0][0] == 431


@pytest.mark.parametrize(
    "host",
    [b"evil.example", b"127.0.0.1", b"127.0.0.1:8891", b"localhost.evil.example:8890", b"127.0.0.1:8890."],
)
def test_foreign_host(host: bytes) -> None:
    """A request with another Host is refused, with the token too: a name of a web site may resolve to 127.0.0.1."""
    exchange = RelayedExchange()
    received = exchange.send(b"GET /?token=" + PLAIN + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert responses(received, [b"GET"])[0][0] == 403
    assert exchange.connections == 0


@pytest.mark.parametrize("host", [b"localhost:8890", b"LOCALHOST:8890", b"[::1]:8890", b"127.0.0.1:8890"])
def test_own_host(host: bytes) -> None:
    """The names of this machine's loopback interface are served, and the server gets the same Host."""
    exchange = RelayedExchange()
    exchange.send(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert exchange.requests[0].header(b"host") == [host]


@pytest.mark.parametrize(
    "line", [b"CONNECT a:1 HTTP/1.1", b"GET http://evil.example/ HTTP/1.1", b"OPTIONS * HTTP/1.1"]
)
def test_no_forward_proxy(line: bytes) -> None:
    """Targets of other servers are refused."""
    exchange = RelayedExchange()
    exchange.send(line + b"\r\n" + HOST + b"\r\n")
    assert b" 400 " in exchange.to_client and exchange.connections == 0


def test_hop_by_hop_headers() -> None:
    """Headers for one connection are not relayed, nor is an upgrade to anything but WebSocket."""
    exchange = RelayedExchange(
        lambda _: b"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\nContent-Length: 0\r\n\r\n"
    )
    received = exchange.send(
        b"GET / HTTP/1.1\r\n"
        + HOST
        + b"Connection: Upgrade, X-Mine, Host\r\nX-Mine: 1\r\nUpgrade: h2c\r\nTE: trailers\r\n"
        b"Accept-Encoding: gzip\r\nX-End: 3\r\n\r\n"
    )
    assert dict(exchange.requests[0].headers).keys() == {b"host", b"x-end"}
    assert responses(received, [b"GET"])[0][1].keys() == {b"x-end", b"content-length"}


def test_page() -> None:
    """A page has no validators of the server's, and the browser gets no token of the server in a header."""
    exchange = RelayedExchange(
        lambda _: (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=UTF-8\r\nETag: a\r\nLast-Modified: b\r\nX: "
            + SERVER
            + b"\r\nContent-Length: 48\r\n\r\n"
            + SERVER
        ),
        block_bytes=7,
    )
    ((_, headers, body),) = responses(exchange.send(GET), [b"GET"])
    assert body == PLAIN and headers[b"x"] == PLAIN
    assert headers.keys() == {b"content-type", b"x", b"content-length"}


def test_other_bodies() -> None:
    """What is no page is relayed unchanged, with its validators."""
    exchange = RelayedExchange(
        lambda _: (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: a\r\nContent-Length: 48\r\n\r\n" + SERVER
        )
    )
    ((_, headers, body),) = responses(exchange.send(GET), [b"GET"])
    assert body == SERVER and headers[b"etag"] == b"a"


def test_expect_100_continue() -> None:
    """The client gets the server's 100, and then sends the body."""
    exchange = RelayedExchange()
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    assert exchange.send(head) == b""
    assert exchange.reply(b"HTTP/1.1 100 (Continue)\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    assert exchange.send(b"abc").endswith(b"ok")
    assert exchange.requests[0].body == b"abc"


def test_http_1_0() -> None:
    """A client of HTTP/1.0 gets a body without chunks, whose end is the end of the connection."""
    exchange = RelayedExchange(
        lambda _: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    )
    received = exchange.send(b"GET / HTTP/1.0\r\n" + HOST + b"\r\n")
    head, _, body = received.partition(b"\r\n\r\n")
    assert body == b"ok" and b"chunked" not in head.lower() and exchange.relay.is_closing


@pytest.mark.parametrize("split", [1, 1000])
def test_websocket(split: int) -> None:
    """After the upgrade both sides' bytes are relayed unchanged, those that came with the heads too."""
    exchange = RelayedExchange(lambda _: b"", block_bytes=split)
    exchange.send(UPGRADE, b"early")
    (request,) = exchange.requests
    assert request.target == b"/channels" and request.header(b"authorization") == [b"token " + SERVER]
    assert request.header(b"connection") == [b"Upgrade"] and request.header(b"upgrade") == [b"websocket"]
    exchange.relay.receive_from_server(SWITCHED + b"\x00server")
    assert bytes(exchange.relay.to_server) == b"early"
    exchange.relay.receive_from_client(GET)
    assert bytes(exchange.relay.to_server) == b"early" + GET
    head, _, rest = bytes(exchange.relay.to_client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ") and rest == b"\x00server"
    exchange.relay.receive_from_server(b"")
    assert exchange.relay.is_closing and not exchange.relay.is_aborted


def test_websocket_refused() -> None:
    """If the server does not switch, the connection serves the next request."""
    exchange = RelayedExchange(lambda _: b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    received = exchange.send(UPGRADE + GET)
    assert [status for status, _, _ in responses(received, [b"GET", b"GET"])] == [403, 403]


def test_unsolicited_switch() -> None:
    """A server that switches although nobody asked is an error."""
    exchange = RelayedExchange(lambda _: SWITCHED)
    assert responses(exchange.send(GET), [b"GET"])[0][0] == 502


def test_server_closes_between_requests() -> None:
    """The next request uses a new server connection."""
    exchange = RelayedExchange()
    exchange.send(GET)
    exchange.reply(b"")
    received = exchange.send(GET)
    assert exchange.connections == 2
    assert [body for _, _, body in responses(received, [b"GET", b"GET"])] == [b"ok", b"ok"]


def test_connection_close_of_server() -> None:
    """The server's Connection: close ends its own connection only."""
    exchange = RelayedExchange(lambda _: OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))
    received = exchange.send(GET + GET)
    assert exchange.connections == 2 and not exchange.relay.is_closing
    assert b"close" not in received.lower()


def test_connection_close_of_client() -> None:
    """The client's Connection: close ends its connection after the response."""
    exchange = RelayedExchange()
    received = exchange.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + GET)
    assert len(exchange.requests) == 1 and exchange.relay.is_closing
    assert responses(received, [b"GET"])[0][1][b"connection"] == b"close"


def test_half_closed_client() -> None:
    """A client that ends its data after the request gets the response, and then the end."""
    exchange = RelayedExchange(lambda _: b"")
    exchange.send(GET, b"")
    assert not exchange.relay.is_closing
    assert responses(exchange.reply(OK), [b"GET"])[0][2] == b"ok"
    assert exchange.relay.is_closing


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 20", b"SSH-2.0-x\r\n\r\n"])
def test_no_response(data: bytes) -> None:
    """A server that closes the connection, or sends no HTTP, is reported with 502 and one sentence."""
    exchange = RelayedExchange(lambda _: b"")
    exchange.send(GET)
    exchange.reply(data)
    exchange.reply(b"")
    ((status, headers, body),) = responses(bytes(exchange.to_client), [b"GET"])
    assert (status, headers[b"connection"], body.count(b"\n")) == (502, b"close", 1)


def test_incomplete_response() -> None:
    """A response that breaks off is not completed: the client's connection is reset."""
    exchange = RelayedExchange(lambda _: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
    exchange.send(GET)
    received = exchange.reply(b"")
    assert received.endswith(b"ab\r\n") and exchange.relay.is_aborted


def test_early_response() -> None:
    """After a response to an incomplete request the connection is closed: its rest is no new request."""
    exchange = RelayedExchange()
    exchange.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\n")
    received = exchange.reply(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    assert responses(received, [b"POST"])[0][0] == 413 and exchange.relay.is_closing
    assert exchange.send(GET) == received


def test_unsolicited_response() -> None:
    """What a server sends before any request is not taken for the response to the next one."""
    exchange = RelayedExchange()
    exchange.send(GET)
    exchange.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    received = exchange.send(GET)
    assert b"evil" not in received and exchange.connections == 2


def test_unsolicited_garbage() -> None:
    """What is no HTTP, between two requests, ends the server's connection only."""
    exchange = RelayedExchange()
    received = exchange.send(GET)
    assert exchange.reply(b"SSH-2.0-x\r\n\r\n") == received
    exchange.send(GET)
    assert exchange.connections == 2 and not exchange.relay.is_closing


@pytest.mark.parametrize(("version", "relayed"), [(b"1.1", True), (b"1.0", False)])
def test_informational_response(version: bytes, relayed: bool) -> None:
    """An interim response is relayed, but not to a client of HTTP/1.0 (RFC 9110, section 15.2)."""
    exchange = RelayedExchange(lambda _: b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)
    received = exchange.send(GET.replace(b"1.1", version))
    assert received.startswith(b"HTTP/1.1 103 ") == relayed and received.endswith(b"ok")


def test_head() -> None:
    """The response to HEAD has the length of the body and no body; an error has none either."""
    exchange = RelayedExchange(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    received = exchange.send(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert responses(received, [b"HEAD"])[0][1:] == ({b"content-length": b"5"}, b"")
    refused = RelayedExchange().send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert refused.endswith(b"\r\n\r\n") and responses(refused, [b"HEAD"])[0][0] == 403


def test_paused_while_the_response_is_due() -> None:
    """Pipelined requests are kept, and counted, until the response before them is complete."""
    exchange = RelayedExchange(lambda _: b"")
    exchange.send(GET, GET, GET)
    assert len(exchange.requests) == 1
    assert exchange.relay.buffered_bytes == 2 * len(GET)


def test_connect_failure() -> None:
    """If no server can be reached, the client gets the reason with 502."""
    exchange = RelayedExchange()
    exchange.relay.receive_from_client(GET)
    assert exchange.relay.needs_server
    exchange.relay.fail("the server has ended")
    assert not exchange.relay.needs_server
    ((status, _, body),) = responses(bytes(exchange.relay.to_client), [b"GET"])
    assert (status, body) == (502, b"the server has ended\n")


@pytest.mark.parametrize(("sent", "answer"), [(b"", b""), (b"GET / HT", b"408")])
def test_time_out(sent: bytes, answer: bytes) -> None:
    """A client that takes too long is told so if it has begun a request."""
    exchange = RelayedExchange()
    if sent:
        exchange.send(sent)
    assert exchange.relay.is_idle
    exchange.relay.time_out()
    assert exchange.relay.is_closing and answer in exchange.relay.to_client[:12]
    assert bool(exchange.relay.to_client) == bool(answer)
