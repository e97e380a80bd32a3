"""The process that holds a login: its clients open channels of its transport, and nothing that they send does harm."""

import contextlib
import os
import random
import socket
import struct
import threading
from typing import Any

import paramiko
import pytest

from notebooks_over_ssh.ssh.bootstrap import BOOTSTRAP, BOOTSTRAP_SESSION
from notebooks_over_ssh.ssh.mux import messages
from notebooks_over_ssh.ssh.mux.messages import MessageReader
from notebooks_over_ssh.ssh.mux.proxied_channel import ProxiedChannel
from notebooks_over_ssh.ssh.mux.server import MAX_CHANNELS, MuxServerClient
from notebooks_over_ssh.ssh.mux.transport import frame
from notebooks_over_ssh.ssh.protocol.exec_request import exec_request
from notebooks_over_ssh.ssh.protocol.flow_control import PathEstimate
from notebooks_over_ssh.ssh.protocol.sessions_ahead import SessionsAhead

KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIA=="
EXTENSIONS = {messages.HOST_KEY: KEY}
HELLO = messages.hello() + messages.alive_check(1)
PROXY = messages.proxy(2)
REMOTE_ID = 40


class FakeTransport:
    """Opens every channel, under a number of its own, and records what is sent."""

    def __init__(self) -> None:
        self.packetizer = self
        self.path_estimate = PathEstimate()
        self.max_data_bytes = 32768
        self.sessions_ahead = SessionsAhead(self)
        self.last_received_at = 0.0
        self.sent: list[bytes] = []
        self.channels: dict[int, Any] = {}

    def add(self, channel: Any) -> None:
        channel.local_id = len(self.sent) + 1000
        self.channels[channel.local_id] = channel

    def remove(self, channel: Any) -> None:
        self.channels.pop(channel.local_id, None)

    def replace(self, channel: Any, session: Any) -> None:
        self.channels[channel.local_id] = session

    def is_active(self) -> bool:
        return True

    def send_keepalive(self) -> None:
        self.last_received_at += 1

    def call_soon(self, callback: Any) -> None:
        callback()

    def _send_user_message(self, message: paramiko.Message) -> None:
        payload = message.asbytes()
        self.sent.append(payload)
        if payload[0] == 90:
            kind_end = 5 + struct.unpack_from(">I", payload, 1)[0]
            (number,) = struct.unpack_from(">I", payload, kind_end)
            reply = struct.pack(">BIIII", 91, number, REMOTE_ID + len(self.sent), 1 << 20, 1 << 15)
            self.channels[number].handle_packet(91, memoryview(reply))


def serve(
    data: bytes, refusal: str = "", transport: FakeTransport | None = None
) -> tuple[bytes, FakeTransport, list[str]]:
    """What a client that sends this data receives, the transport, and the answers to requests to end the login."""
    transport, answers = transport or FakeTransport(), list[str]()

    def request_end() -> str:
        answers.append(refusal)
        return refusal

    client, server = socket.socketpair()
    with client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        MuxServerClient(server, transport, request_end).run(EXTENSIONS)
        received = b""
        with contextlib.suppress(ConnectionResetError):  # closed before it was read
            while block := client.recv(65536):
                received += block
    return received, transport, answers


def open_request(kind: bytes, number: int) -> bytes:
    return frame(struct.pack(">BI", 90, len(kind)) + kind + struct.pack(">III", number, 1 << 20, 1 << 15))


def test_session() -> None:
    """A session is opened under the client's number, its packets go to the server, and it is closed with the client."""
    transport = FakeTransport()
    client, server = socket.socketpair()
    thread = threading.Thread(target=MuxServerClient(server, transport, lambda: "").run, args=(EXTENSIONS,))
    thread.start()
    packets = [open_request(b"session", 7), frame(struct.pack(">BII", 94, REMOTE_ID + 1, 2) + b"hi")]
    with client:
        client.sendall(HELLO + PROXY + b"".join(packets))
        reader, confirmation = MessageReader(), b""
        replies: list[messages.Message] = []
        while len(confirmation) < 10:
            data = client.recv(65536)
            assert data
            if len(replies) < 3:
                replies += reader.receive_data(data)
                data = reader.take_unread() if len(replies) == 3 else b""
            confirmation += data
    thread.join()
    greeting, alive, proxied = replies
    assert greeting.extensions == EXTENSIONS
    assert (alive.type, alive.value, proxied.type) == (messages.ALIVE, os.getpid(), messages.PROXY_STARTED)
    assert struct.unpack_from(">BI", confirmation, 5) == (91, 7)
    assert [payload[0] for payload in transport.sent] == [90, 94, 97]


@pytest.mark.parametrize(
    ("packets", "message_types"),
    [
        pytest.param([open_request(b"x11", 7)], [], id="another type of channel"),
        pytest.param([frame(struct.pack(">BI", 50, 7))], [], id="a login"),
        pytest.param([frame(struct.pack(">BII", 94, 3, 2) + b"hi")], [], id="another channel's number"),
        pytest.param([struct.pack(">I", 1 << 30)], [], id="a packet of a gigabyte"),
        pytest.param(
            [open_request(b"session", 7), frame(struct.pack(">BII", 98, REMOTE_ID + 1, 7) + b"pty-req\0")],
            [90, 97],
            id="a terminal",
        ),
        pytest.param(
            [open_request(b"session", number) for number in range(MAX_CHANNELS + 1)],
            [90] * MAX_CHANNELS + [97] * MAX_CHANNELS,
            id="too many channels",
        ),
    ],
)
def test_refused_packets(packets: list[bytes], message_types: list[int]) -> None:
    """What no task needs is not passed on to the server."""
    _, transport, _ = serve(HELLO + PROXY + b"".join(packets))
    assert [payload[0] for payload in transport.sent] == message_types


def test_refused_requests() -> None:
    """Requests that are not served are refused; `terminate` is granted, unless a tunnel needs the login."""
    requests = HELLO + messages.stdio_forward(3, "host", 22) + messages.terminate(4)
    for refusal, answer in (("", messages.OK), ("a tunnel uses it", messages.FAILURE)):
        received, _, answers = serve(requests, refusal)
        replies = MessageReader().receive_data(received)
        assert [reply.type for reply in replies[2:]] == [messages.FAILURE, answer]
        assert replies[3].reason == refusal
        assert answers == [refusal]


def test_another_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of another account gets nothing, not even a greeting."""
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    received, transport, _ = serve(HELLO + PROXY + open_request(b"session", 7))
    assert (received, transport.sent) == (b"", [])


def test_session_ahead() -> None:
    """A session that was opened ahead becomes the client's, with its window; the next one is opened."""
    transport = FakeTransport()
    transport.sessions_ahead.start()
    transport.sessions_ahead.refill()
    serve(HELLO + PROXY + open_request(b"session", 7), transport=transport)
    assert [payload[0] for payload in transport.sent] == [90, 93, 90, 97]
    assert struct.unpack_from(">II", transport.sent[1], 1) == (REMOTE_ID + 1, 1 << 20)


def start_bootstrap(transport: FakeTransport) -> None:
    """Start BOOTSTRAP in a session ahead."""
    transport.sessions_ahead.start()
    transport.sessions_ahead.refill_command(BOOTSTRAP)
    (number,) = transport.channels
    for reply in (struct.pack(">BII", 93, number, 1 << 21), struct.pack(">BI", 99, number)):
        transport.channels[number].handle_packet(reply[0], memoryview(reply))
    assert [payload[0] for payload in transport.sent] == [90, 98]


class RecordingClient:
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, payload: bytes) -> None:
        self.sent.append(payload)

    def remove(self, channel: ProxiedChannel) -> None:
        """Nothing: it keeps no channels."""

    def close(self) -> None:
        self.sent.clear()


def test_bootstrap_session() -> None:
    """A client gets the session in which BOOTSTRAP runs already, and the next one is started."""
    transport, client = FakeTransport(), RecordingClient()
    start_bootstrap(transport)
    channel = ProxiedChannel(transport, client, BOOTSTRAP_SESSION, 7, struct.pack(">II", 1 << 20, 1 << 15))
    channel.open()
    channel.forward(98, exec_request(REMOTE_ID + 1, BOOTSTRAP, want_reply=True).asbytes())
    confirmation = struct.pack(">BIIII", 91, 7, REMOTE_ID + 1, (1 << 20) + (1 << 21), 1 << 15)
    assert client.sent == [confirmation, struct.pack(">BI", 99, 7)]
    # Its window, then another session and another command ahead.
    assert [payload[0] for payload in transport.sent[2:]] == [93, 90, 90, 98]


def test_other_command() -> None:
    """A client that asks for another command there is disconnected, and its command not passed on."""
    transport = FakeTransport()
    start_bootstrap(transport)
    request = exec_request(REMOTE_ID + 1, "true", want_reply=True).asbytes()
    serve(HELLO + PROXY + open_request(BOOTSTRAP_SESSION, 7) + frame(request), transport=transport)
    assert request not in transport.sent
    assert transport.sent[-1][0] == 97


def test_no_bootstrap_session() -> None:
    """If BOOTSTRAP does not run ahead, the client gets an ordinary session, whose command it requests itself."""
    transport = FakeTransport()
    request = exec_request(REMOTE_ID + 1, BOOTSTRAP, want_reply=True).asbytes()
    serve(HELLO + PROXY + open_request(BOOTSTRAP_SESSION, 7) + frame(request), transport=transport)
    assert [payload[0] for payload in transport.sent] == [90, 98, 97]
    assert transport.sent[0][5:12] == b"session"
    assert transport.sent[1] == request


def test_random_input() -> None:
    """10 000 clients that send valid messages with random changes end only themselves."""
    source = random.Random(1)  # not a secret
    packets = [
        open_request(b"session", 7),
        open_request(BOOTSTRAP_SESSION, 9),
        open_request(b"direct-tcpip", 8),
        frame(struct.pack(">BII", 94, REMOTE_ID + 1, 2) + b"hi"),
        frame(struct.pack(">BII", 93, REMOTE_ID + 1, 100)),
        frame(struct.pack(">BII", 98, REMOTE_ID + 1, 4) + b"exec\1\0\0\0\4true"),
        frame(struct.pack(">BI", 96, REMOTE_ID + 1)),
        frame(struct.pack(">BI", 97, REMOTE_ID + 1)),
        frame(struct.pack(">BI", 80, 3) + b"abc\1"),
    ]
    for number in range(10_000):
        data = bytearray(HELLO + PROXY + b"".join(source.choices(packets, k=4)))
        for _ in range(source.randrange(4)):
            # Mostly after the greeting, which would be refused at once.
            begin = 0 if number % 5 == 0 else len(HELLO + PROXY)
            data[source.randrange(begin, len(data))] = source.randrange(256)
        transport = FakeTransport()
        if number % 2 == 0:
            start_bootstrap(transport)
        serve(bytes(data), transport=transport)
        if number % 2 == 0:
            # Also the session in which it runs, and four packets for each next one.
            assert len(transport.sent) <= 9 + 2 + 4 * 4
        else:
            assert len(transport.sent) <= 9, "four packets, and the end of up to four channels"
