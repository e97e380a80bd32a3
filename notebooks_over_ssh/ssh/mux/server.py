"""Lets other processes of this account use a transport of this one: a master of OpenSSH's protocol, in proxy mode.

Served are the alive check and MUX_C_PROXY (PROTOCOL.mux, sections 1, 4 and 9): after it, the client opens sessions and
connections to ports as channels (RFC 4254) of the transport. Nothing else of a login leaves this process.
"""

import contextlib
import logging
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import paramiko
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_GLOBAL_REQUEST,
    MSG_REQUEST_FAILURE,
)

from notebooks_over_ssh.ssh.bootstrap import BOOTSTRAP_SESSION
from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.mux import messages
from notebooks_over_ssh.ssh.mux.messages import MessageReader, MuxError
from notebooks_over_ssh.ssh.mux.proxied_channel import ProxiedChannel
from notebooks_over_ssh.ssh.mux.transport import frame
from notebooks_over_ssh.ssh.protocol.channel import DIRECT_TCPIP, SESSION
from notebooks_over_ssh.ssh.protocol.message import Message
from notebooks_over_ssh.ssh.protocol.packet_encryption import MAX_PACKET_BYTES
from notebooks_over_ssh.util.peer_credentials import peer_uid

_log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 10.0
READ_SIZE = 256 * 1024
MAX_CHANNELS = 512
# What is kept for a client that does not read. The windows that it has granted allow less.
MAX_UNSENT_BYTES = 256 * 1024 * 1024
KEEPALIVE_POLL_S = 0.05
KEEPALIVE_TIMEOUT_S = 60.0
FORWARDED = (MSG_CHANNEL_WINDOW_ADJUST, MSG_CHANNEL_DATA, MSG_CHANNEL_EOF, MSG_CHANNEL_CLOSE)


class ProtocolError(Exception):
    """The client does not follow the protocol, or asks for too much."""


class MuxServerClient:
    """One client, with a thread for each direction. `run` returns when it has left."""

    def __init__(
        self,
        sock: socket.socket,
        transport: Any,
        request_end: Callable[[], str],
    ) -> None:
        """`request_end` asks for the end of the login, and returns why it does not end, or ""."""
        self._socket = sock
        self._transport = transport
        self._request_end = request_end
        self._channels: set[ProxiedChannel] = set()
        self._unsent: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._unsent_bytes = 0
        self._unsent_lock = threading.Lock()
        self.is_served = False
        """Whether it uses the transport now."""

    def run(self, extensions: Mapping[str, str]) -> None:
        """Serve the client until it leaves, or the transport ends. `extensions` is what the greeting says."""
        writer = threading.Thread(target=self._write, name="login holder: to a client", daemon=True)
        try:
            if peer_uid(self._socket) != os.getuid():
                raise ProtocolError("it belongs to another account")
            self._socket.settimeout(HELLO_TIMEOUT_S)
            unread = self._negotiate(extensions)
            self._socket.settimeout(None)
            self.is_served = True
            writer.start()
            self._read_packets(unread)
        except (ProtocolError, MuxError, *FAILURES) as error:
            _log.debug("a client of the login has left: %s", error)
        finally:
            self.close()
            for channel in list(self._channels):
                channel.abandon()
            self._unsent.put(None)
            if self.is_served:
                writer.join()
            self._socket.close()
            self.is_served = False

    def close(self) -> None:
        """Disconnect the client."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def send(self, payload: bytes) -> None:
        """Queue a packet for the client; does not block."""
        with self._unsent_lock:
            self._unsent_bytes += len(payload)
            is_full = self._unsent_bytes > MAX_UNSENT_BYTES
        if is_full:
            self.close()
            return
        self._unsent.put(payload)

    def remove(self, channel: ProxiedChannel) -> None:
        """Forget a channel that has ended."""
        self._channels.discard(channel)

    def _negotiate(self, extensions: Mapping[str, str]) -> bytes:
        """Handle the requests up to the one for proxy mode; returns what follows it."""
        self._socket.sendall(messages.hello(extensions))
        reader = MessageReader()
        while True:
            data = self._socket.recv(READ_SIZE)
            if not data:
                raise EOFError
            for message in reader.receive_data(data):
                if message.type == messages.HELLO and message.id != messages.VERSION:
                    raise ProtocolError(f"it speaks version {message.id} of the protocol")
                if message.type == messages.ALIVE_CHECK:
                    self._socket.sendall(messages.alive(message.id, os.getpid()))
                elif message.type == messages.TERMINATE:
                    refusal = self._request_end()
                    answer = messages.failure(message.id, refusal) if refusal else messages.ok(message.id)
                    self._socket.sendall(answer)
                elif message.type == messages.PROXY:
                    self._socket.sendall(messages.proxy_started(message.id))
                    return reader.take_unread()
                elif message.type != messages.HELLO:
                    self._socket.sendall(messages.failure(message.id, "unsupported request"))

    def _read_packets(self, unread: bytes) -> None:
        buffer = bytearray(unread)
        while True:
            while len(buffer) >= 4:
                (size,) = struct.unpack_from(">I", buffer)
                if not 2 <= size <= MAX_PACKET_BYTES:
                    raise ProtocolError(f"it sent a packet of {size} bytes")
                if len(buffer) < 4 + size:
                    break
                payload = bytes(buffer[5 : 4 + size])
                del buffer[: 4 + size]
                self._handle(payload)
            data = self._socket.recv(READ_SIZE)
            if not data:
                raise EOFError
            buffer += data

    def _handle(self, payload: bytes) -> None:
        message_type, message = payload[0], Message(payload[1:])
        if message_type == MSG_CHANNEL_OPEN:
            self._open(message)
        elif message_type == MSG_GLOBAL_REQUEST:
            self._answer_keepalive()
        elif message_type in FORWARDED or message_type == MSG_CHANNEL_REQUEST:
            number = message.get_int()
            channel = next((channel for channel in list(self._channels) if channel.is_at(number)), None)
            if channel is None:
                return  # it has ended meanwhile
            if message_type == MSG_CHANNEL_REQUEST and message.get_binary() != b"exec":
                if message.get_boolean():
                    self.send(struct.pack(">BI", MSG_CHANNEL_FAILURE, channel.client_id))
                return
            channel.forward(message_type, payload)
        else:
            raise ProtocolError(f"it sent a message of type {message_type}")

    def _open(self, message: paramiko.Message) -> None:
        kind, number = message.get_binary(), message.get_int()
        if kind not in (SESSION, BOOTSTRAP_SESSION, DIRECT_TCPIP):
            raise ProtocolError("it asks for a channel of another type")
        if len(self._channels) >= MAX_CHANNELS:
            raise ProtocolError("it asks for too many channels")
        channel = ProxiedChannel(self._transport, self, kind, number, message.get_remainder())
        self._channels.add(channel)
        channel.open()

    def _answer_keepalive(self) -> None:
        """Answer once the server has sent something, which it must to answer the transport's own keepalive."""
        packetizer = self._transport.packetizer
        asked_at, deadline = packetizer.last_received_at, time.monotonic() + KEEPALIVE_TIMEOUT_S

        def wait() -> None:
            self._transport.send_keepalive()
            while self._transport.is_active() and time.monotonic() < deadline:
                if packetizer.last_received_at > asked_at:
                    self.send(bytes((MSG_REQUEST_FAILURE,)))
                    return
                threading.Event().wait(KEEPALIVE_POLL_S)

        threading.Thread(target=wait, name="login holder: keepalive", daemon=True).start()

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while (payload := self._unsent.get()) is not None:
                self._socket.sendall(frame(payload))
                with self._unsent_lock:
                    self._unsent_bytes -= len(payload)
        self.close()
