"""What a peer can make this process keep is bounded, however much it sends, and whenever."""

import contextlib
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any, cast

import paramiko
import pytest
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_KEXINIT,
)

from notebooks_over_ssh.ssh.protocol import transport as transport_module
from notebooks_over_ssh.ssh.protocol.channel import MAX_PENDING_REQUESTS, Channel
from notebooks_over_ssh.ssh.protocol.compression import Decompressor
from notebooks_over_ssh.ssh.protocol.flow_control import PathEstimate
from notebooks_over_ssh.ssh.protocol.jump_channel import JumpChannel
from notebooks_over_ssh.ssh.protocol.packet_encryption import MAX_PACKET_BYTES
from notebooks_over_ssh.ssh.protocol.packetizer import BlockPacketizer
from notebooks_over_ssh.ssh.protocol.transport import UNSENT_LIMIT, Transport
from notebooks_over_ssh.tunnel.event_loop import EventLoopThread
from notebooks_over_ssh.tunnel.forwarded_connection import CHUNK_BYTES, ForwardedConnection
from notebooks_over_ssh.tunnel.target import Target
from tests.kit.scripted_peer import MB, ScriptedPeer, scripted_peer
from tests.kit.sockets import TIMEOUT_S
from tests.kit.sshd import LOOPBACK
from tests.kit.wait import wait_until

BLOCK = 32768
TARGET = (LOOPBACK, 22)


@pytest.fixture
def gateway() -> Iterator[tuple[Transport, ScriptedPeer]]:
    """A transport to a peer that follows no rules, logged in."""
    with (
        scripted_peer() as (port, end),
        closing(Transport(socket.create_connection((LOOPBACK, port)))) as transport,
    ):
        transport.start_client(timeout=TIMEOUT_S)
        transport.auth_none("anybody")
        yield transport, end


def flood(send: Callable[[], None], size: int, until: Callable[[], bool]) -> int:
    """Call `send` up to `times` times; returns how often until the connection ended."""
    for number in range(size):
        if until():
            return number
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            send()
    return size


def assert_ended(transport: Transport, reason: str) -> None:
    """The transport ends, with this reason."""
    wait_until(lambda: not transport.is_active(), "the transport has ended")
    assert reason in str(transport.saved_exception)


def test_data_before_channel_confirmation(gateway: tuple[Transport, ScriptedPeer]) -> None:
    """Data on a channel that is not yet confirmed ends the connection at the first packet."""
    transport, end = gateway
    JumpChannel(transport, TARGET).open()
    number = end.channel_opens.get(timeout=TIMEOUT_S).local_id
    flood(lambda: end.data(number, bytes(BLOCK)), 64, lambda: not transport.is_active())
    assert_ended(transport, "before opening it")


def test_unread_nested_data(gateway: tuple[Transport, ScriptedPeer]) -> None:
    """A nested transport gets no new window for data that it has not read, so at most one window is buffered."""
    transport, end = gateway
    jump_channel = JumpChannel(transport, TARGET)
    jump_channel.open()
    channel = end.accept()
    with closing(Transport(jump_channel)):
        for _ in range(channel.window // BLOCK):
            end.data(channel.local_id, bytes(BLOCK))
        end.request(channel.local_id)
        kinds: list[int] = []
        while not kinds or kinds[-1] != MSG_CHANNEL_FAILURE:
            kinds.append(end.received.get(timeout=TIMEOUT_S)[0])
        assert MSG_CHANNEL_WINDOW_ADJUST not in kinds
        end.data(channel.local_id, bytes(BLOCK))
        assert_ended(transport, "more than the window allows")


class _AsksForACode(paramiko.ServerInterface):
    def get_allowed_auths(self, username: str) -> str:
        return "keyboard-interactive"

    def check_auth_interactive(self, username: str, submethods: str) -> Any:
        return paramiko.server.InteractiveQuery("", "", "code:")

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        return paramiko.common.AUTH_SUCCESSFUL


def test_ignored_messages_during_login(gateway: tuple[Transport, ScriptedPeer]) -> None:
    """IGNORE messages during the prompt for a code are read and dropped: little is buffered, and the login succeeds."""
    outer, end = gateway
    jump_channel = JumpChannel(outer, TARGET)
    jump_channel.open()
    channel = end.accept(window=64 * MB)
    prompted, answered, flooded = threading.Event(), threading.Event(), threading.Event()
    allowed = threading.Semaphore(0)
    client_end, server_end = socket.socketpair()
    size = 16 * MB

    def to_client() -> None:
        send_window = channel.window
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            while data := server_end.recv(BLOCK):
                while send_window < len(data):
                    allowed.acquire()
                    send_window = window[0]
                send_window -= len(data)
                window[0] -= len(data)
                end.data(channel.local_id, data)

    def to_server() -> None:
        with contextlib.suppress(OSError, EOFError, Exception):
            while True:
                kind, body = end.received.get(timeout=TIMEOUT_S)
                if kind == MSG_CHANNEL_DATA:
                    server_end.sendall(body[4:])
                elif kind == MSG_CHANNEL_WINDOW_ADJUST:
                    window[0] += int.from_bytes(body[:4], "big")
                    allowed.release()

    window = [channel.window]
    threads = [threading.Thread(target=work, daemon=True) for work in (to_client, to_server)]
    for thread in threads:
        thread.start()
    server: Any = paramiko.Transport(client_end)
    server.add_server_key(paramiko.ECDSAKey.generate())
    server.start_server(event=threading.Event(), server=_AsksForACode())
    inner = Transport(jump_channel)

    def code(title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        prompted.set()
        answered.wait(TIMEOUT_S)
        return ["123456"]

    def talk() -> None:
        prompted.wait(TIMEOUT_S)
        message = paramiko.Message(bytes([2]) + (BLOCK // 2).to_bytes(4, "big") + bytes(BLOCK // 2))
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            for _ in range(size // (BLOCK // 2)):
                server._send_message(message)
            flooded.set()

    talking = threading.Thread(target=talk, daemon=True)
    try:
        inner.start_client(timeout=TIMEOUT_S)
        talking.start()
        logging_in = threading.Thread(target=lambda: inner.auth_interactive("anybody", code), daemon=True)
        logging_in.start()
        assert prompted.wait(TIMEOUT_S)
        window_bytes = jump_channel.window.size
        peaks = [0]

        def is_read() -> bool:
            peaks.append(len(inner.packetizer._buffered))
            return flooded.is_set()

        wait_until(is_read, "all of it is read")
        assert max(peaks) <= window_bytes
        answered.set()
        logging_in.join(TIMEOUT_S)
        assert inner.is_authenticated()
    finally:
        answered.set()
        inner.close()
        server.close()
        for peer in (client_end, server_end):
            peer.close()
        for thread in threads:
            thread.join(TIMEOUT_S)


def test_requests_without_room_for_replies(gateway: tuple[Transport, ScriptedPeer]) -> None:
    """A peer that keeps sending requests, and reads no replies, loses the connection: the replies are not queued."""
    transport, end = gateway
    JumpChannel(transport, TARGET).open()
    number = end.accept().local_id
    end.transport._handler_table[MSG_KEXINIT] = lambda _: None  # never answers the key exchange
    transport.packetizer.call_soon(transport._send_kex_init)
    wait_until(lambda: not transport.clear_to_send.is_set(), "the key exchange has started")
    errands = 0
    for _ in range(40 * MAX_PENDING_REQUESTS):
        if not transport.is_active():
            break
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            end.request(number)
        errands = max(errands, len(transport.packetizer._callbacks))
    assert_ended(transport, "too many channel requests")
    assert errands < 8


def program(transport: Transport, end: ScriptedPeer) -> tuple[int, paramiko.Channel]:
    """A session channel, which Paramiko handles as long as there is a reference to it, and its number."""
    channels: list[paramiko.Channel] = []
    opening = threading.Thread(target=lambda: channels.append(transport.open_session(timeout=TIMEOUT_S)))
    opening.start()
    number = end.accept().local_id
    opening.join(TIMEOUT_S)
    return number, channels[0]


def test_channel_close_during_rekey(gateway: tuple[Transport, ScriptedPeer]) -> None:
    """A channel close that arrives during a key exchange is answered after it, and does not delay it."""
    transport, end = gateway
    number, channel = program(transport, end)
    take_part = end.transport._handler_table[MSG_KEXINIT]

    def end_first(message: paramiko.Message) -> None:
        end.send(MSG_CHANNEL_CLOSE, number)
        take_part(message)

    end.transport._handler_table[MSG_KEXINIT] = end_first
    transport.packetizer.call_soon(transport._send_kex_init)
    end.expect(MSG_CHANNEL_CLOSE)
    assert channel.closed
    assert transport.is_active()


def test_channel_requests_during_rekey(gateway: tuple[Transport, ScriptedPeer]) -> None:
    """Replies to channel requests during a key exchange are queued without delaying it; too many requests end the
    connection.
    """
    transport, end = gateway
    number, _channel = program(transport, end)
    end.transport._handler_table[MSG_KEXINIT] = lambda _: None  # never answers the key exchange
    transport.packetizer.call_soon(transport._send_kex_init)
    wait_until(lambda: not transport.clear_to_send.is_set(), "the key exchange has started")
    flood(lambda: end.request(number), 4 * UNSENT_LIMIT, lambda: not transport.is_active())
    assert_ended(transport, "too many requests during a key exchange")
    assert len(transport.packetizer._callbacks) <= UNSENT_LIMIT


def test_unanswered_rekey(gateway: tuple[Transport, ScriptedPeer], monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that keeps sending, and never answers a key exchange, loses the connection in time."""
    transport, end = gateway
    monkeypatch.setattr(transport_module, "KEX_TIMEOUT_S", 0.5)
    end.transport._handler_table[MSG_KEXINIT] = lambda _: None
    transport.packetizer.call_soon(transport._send_kex_init)
    flood(
        lambda: end.transport._send_message(paramiko.Message(b"\x02\0\0\0\0")),
        10**9,
        lambda: not transport.is_active(),
    )
    assert_ended(transport, "key exchange timed out")


def test_session_channel_window(gateway: tuple[Transport, ScriptedPeer]) -> None:
    """A session channel that receives more than its window ends the connection; Paramiko itself buffers any amount."""
    transport, end = gateway
    opening = threading.Thread(target=lambda: channels.append(transport.open_session(timeout=TIMEOUT_S)))
    channels: list[paramiko.Channel] = []
    opening.start()
    channel = end.accept()
    opening.join(TIMEOUT_S)
    blocks = flood(
        lambda: end.data(channel.local_id, bytes(BLOCK)),
        8 * channel.window // BLOCK,
        lambda: not transport.is_active(),
    )
    assert blocks < 8 * channel.window // BLOCK
    assert_ended(transport, "more than the window allows")


def test_decompression_limit() -> None:
    """A compressed packet may expand to the maximum packet size, and not to a thousand times that."""
    compressor = zlib.compressobj()
    small = compressor.compress(b"hello" * 1000) + compressor.flush(zlib.Z_FULL_FLUSH)
    bomb = compressor.compress(bytes(64 * MB)) + compressor.flush(zlib.Z_FULL_FLUSH)
    decompress = Decompressor()
    assert decompress(small) == b"hello" * 1000
    tracemalloc.start()
    try:
        with pytest.raises(paramiko.SSHException, match="too large"):
            decompress(bomb)
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_PACKET_BYTES
    finally:
        tracemalloc.stop()


def test_no_compression_before_login() -> None:
    """Compression is offered only if configured, and never the kind that starts before the login."""
    client_end, server_end = socket.socketpair()
    with client_end, server_end:
        transport = Transport(client_end)
        assert transport.preferred_compression == ("none",)
        transport.use_compression(True)
        assert transport.preferred_compression == ("zlib@openssh.com", "none")
        assert "zlib" not in transport._compression_info


def test_one_byte_packets() -> None:
    """Data that waits for a local socket takes about its own size in memory, whatever the size of its packets."""
    local, browser = socket.socketpair()
    event_loop = EventLoopThread()
    owner = SimpleNamespace(event_loop=event_loop, connections=set())
    with closing(event_loop), local, browser:
        local.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                local.send(bytes(BLOCK))
        transport = SimpleNamespace(path_estimate=PathEstimate(), packetizer=None)
        connection = ForwardedConnection(local, transport, Target(1), cast(Any, owner))
        for number in range(100_000):
            connection.data_received(memoryview(bytes([number % 256]) * 32)[:1])
        assert len(connection._backlog) == 100_000 // CHUNK_BYTES + 1
        assert b"".join(connection._backlog) == bytes(number % 256 for number in range(100_000))


class _Counts(Channel):
    """Counts its events."""

    calls = 0

    def _count(self) -> None:
        self.calls += 1

    eof_received = resume_writing = _count


def test_redundant_packets() -> None:
    """A second EOF and a window adjustment of zero are dropped: each would be queued for another thread."""
    stream = _Counts(SimpleNamespace(path_estimate=PathEstimate(), max_data_bytes=BLOCK), b"session")
    number = bytes(4)
    assert stream.handle_packet(MSG_CHANNEL_OPEN_SUCCESS, memoryview(b"\x5b" + bytes(11) + b"\0\0\x80\0\0"))
    for _ in range(100):
        stream.handle_packet(MSG_CHANNEL_WINDOW_ADJUST, memoryview(b"\x5d" + number + bytes(4)))
    assert stream.calls == 0
    for _ in range(100):
        stream.handle_packet(MSG_CHANNEL_EOF, memoryview(b"\x60" + number))
    assert stream.calls == 1


def test_close_after_gateway_is_gone(
    gateway: tuple[Transport, ScriptedPeer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing a transport whose gateway accepts no more data prints no traceback."""
    outer, end = gateway
    jump_channel = JumpChannel(outer, TARGET)
    jump_channel.open()
    end.accept()
    uncaught: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", uncaught.append)
    inner = Transport(jump_channel)
    finished = threading.Event()
    inner.start_client(event=finished)

    def raise_eof(self: Any, message: paramiko.Message) -> None:
        raise EOFError

    monkeypatch.setattr(BlockPacketizer, "send_message", raise_eof)
    inner.packetizer.feed_eof()
    inner.join(TIMEOUT_S)
    assert not inner.is_alive()
    assert finished.is_set()
    assert not uncaught, uncaught[0]
