"""The binary packet protocol of one transport (RFC 4253, section 6), read in large blocks.

Paramiko reads each packet with two system calls and hands its data from thread to thread. Here one `recv` takes
whatever the network has, up to RECV_SIZE, and channel data is delivered in the thread that received it. Any other
packet waits for the transport's thread, and so does everything behind it: packets are handled in order.
`receive_data` is the parser, without a socket: bytes in, calls of `packet_handler` out.
"""

import contextlib
import math
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.packet import NeedRekeyException, Packetizer

from notebooks_over_ssh.ssh.protocol.message import Message
from notebooks_over_ssh.ssh.protocol.packet_encryption import (
    MAX_PACKET_BYTES,
    REKEY_AFTER_BYTES,
    Block,
    Mac,
    PacketCipher,
    PlainCipher,
    make_cipher,
    next_sequence,
)
from notebooks_over_ssh.ssh.protocol.tcp_latency import quick_ack

RECV_SIZE = 256 * 1024
# Acknowledge a block at once if it is smaller than this, in bytes: its sender may wait for that (Nagle's algorithm).
QUICKACK_MAX_BYTES = 16 * 1024
# Seconds; RFC 4253, section 9: "after each hour of connection time". Checked when a packet is sent or received.
REKEY_AFTER = 3600.0
# How often a waiting thread checks for a timeout: during the handshake, and afterwards.
HANDSHAKE_POLL_INTERVAL_S = 0.1
POLL_INTERVAL_S = 1.0
MAX_PRE_BANNER_LINES = 1024  # SSH_MAX_PRE_BANNER_LINES in OpenSSH's kex.h

_Packetizer: Any = Packetizer  # the stubs omit most of this class
PacketHandler = Callable[[int, memoryview], bool]


class BlockPacketizer(_Packetizer):  # type: ignore[misc] # as above
    """Reads and writes the packets of one transport over a socket."""

    REKEY_BYTES = REKEY_AFTER_BYTES
    REKEY_AFTER = REKEY_AFTER

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._socket = sock
        self._is_tcp = getattr(sock, "family", None) in (socket.AF_INET, socket.AF_INET6)
        self._unread: Block = b""
        self._pending: tuple[int, paramiko.Message] | None = None
        self._rekey_signalled = False
        self._callbacks: deque[Callable[[], None]] = deque()
        self._decompress: Callable[[bytes], bytes] | None = None
        self._sequence = 0
        self._inbound_cipher: PacketCipher = PlainCipher()
        self._poll_interval_s = HANDSHAKE_POLL_INTERVAL_S
        self.packet_handler: PacketHandler = lambda message_type, payload: False
        """Called with each packet in the receiving thread; returns whether it handled the packet. Must not send."""
        self.can_send: Callable[[], bool] = lambda: False
        """Whether the transport's thread may send; during a key exchange it would wait for itself."""
        self._outbound_cipher: PacketCipher = PlainCipher()
        self._send_lock = threading.RLock()
        self._sent_sequence = self._sent_bytes = 0
        self._send_limit = self._receive_limit = REKEY_AFTER_BYTES
        self._compress: Callable[[bytes], bytes] | None = None
        self.last_received_at = time.monotonic()
        """When the last packet arrived, in seconds of `time.monotonic`."""
        self.received_bytes = 0
        self.kex_deadline = math.inf
        """When the key exchange in progress times out."""
        self._rekey_at = math.inf

    def read_message(self) -> tuple[int, paramiko.Message]:
        """The next packet that `packet_handler` does not handle. Only the transport's thread may call it.

        Raises EOFError at the end, SSHException for an invalid packet, NeedRekeyException when a key exchange is due.
        """
        self._pending = None
        self.receive_data(b"")
        while self._pending is None:
            self._run_callbacks()
            self._check_for_rekey()
            self.receive_data(self._receive())
        return self._pending

    def readline(self, timeout: float) -> str:
        """The peer's identification string. Raises EOFError, TimeoutError, SSHException.

        Skips earlier lines; RFC 4253, section 4.2: "The server MAY send other lines of data before [it]."
        """
        deadline = time.monotonic() + timeout
        for _ in range(MAX_PRE_BANNER_LINES):
            line = self.read_line(deadline)
            if line.startswith("SSH-"):
                return line
        raise paramiko.SSHException("no identification string received")

    def read_line(self, deadline: float) -> str:
        """The next line before the first packet. Raises EOFError, TimeoutError at `deadline`, SSHException."""
        line = self._next_line()
        while line is None:
            if time.monotonic() >= deadline:
                raise TimeoutError
            self._wait_for_more()
            line = self._next_line()
        return line.removesuffix(b"\r").decode("utf-8", "replace")

    def set_inbound_cipher(
        self,
        block_engine: Any,
        block_size: int,
        mac_engine: Any,
        mac_size: int,
        mac_key: bytes,
        etm: bool = False,
        aead: bool = False,
        iv_in: bytes | None = None,
    ) -> None:
        """Decrypt with these keys from the next packet on."""
        super().set_inbound_cipher(
            block_engine, block_size, mac_engine, mac_size, mac_key, etm=etm, aead=aead, iv_in=iv_in
        )
        self._inbound_cipher = make_cipher(
            block_engine, block_size, Mac(mac_engine, mac_size, mac_key), etm, iv_in if aead else None
        )
        self._receive_limit = min(self.REKEY_BYTES, self._inbound_cipher.rekey_after_bytes)
        self._rekey_signalled = False
        self.received_bytes = 0
        self._rekey_at = time.monotonic() + self.REKEY_AFTER

    def set_outbound_cipher(
        self,
        block_engine: Any,
        block_size: int,
        mac_engine: Any,
        mac_size: int,
        mac_key: bytes,
        sdctr: bool = False,
        etm: bool = False,
        aead: bool = False,
        iv_out: bytes | None = None,
    ) -> None:
        """Encrypt with these keys from the next packet on."""
        super().set_outbound_cipher(
            block_engine, block_size, mac_engine, mac_size, mac_key, sdctr, etm, aead, iv_out
        )
        self._outbound_cipher = make_cipher(
            block_engine, block_size, Mac(mac_engine, mac_size, mac_key), etm, iv_out if aead else None
        )
        self._send_limit = min(self.REKEY_BYTES, self._outbound_cipher.rekey_after_bytes)
        self._sent_bytes = 0

    def set_inbound_compressor(self, compressor: Callable[[bytes], bytes]) -> None:
        """Decompress every packet from the next one on."""
        self._decompress = compressor

    def set_outbound_compressor(self, compressor: Callable[[bytes], bytes]) -> None:
        """Compress every packet from the next one on."""
        self._compress = compressor

    def send_message(self, message: paramiko.Message) -> None:
        """Send a packet; blocks until the socket has accepted it. Raises EOFError if the connection is closed."""
        payload = message.asbytes()
        with self._send_lock:
            if self._compress is not None:
                payload = self._compress(payload)
            encrypted = self._outbound_cipher.encrypt_packet(payload, self._sent_sequence)
            self._sent_sequence = next_sequence(self._sent_sequence, self._initial_kex_done)
            self.write_all(encrypted)
            self._sent_bytes += len(encrypted)
            limit_reached = self._sent_bytes >= self._send_limit or time.monotonic() >= self._rekey_at
            if limit_reached and not self.need_rekey():
                self._trigger_rekey()

    def reset_seqno_out(self) -> None:
        """Restart the sequence numbers after SSH_MSG_NEWKEYS (OpenSSH PROTOCOL, section 1.10, strict key exchange)."""
        self._sent_sequence = 0

    def reset_seqno_in(self) -> None:
        """As `reset_seqno_out`, for received packets."""
        self._sequence = 0

    def complete_handshake(self) -> None:
        """Stop the handshake timer, and poll less often."""
        super().complete_handshake()
        if self._poll_interval_s != POLL_INTERVAL_S and self.can_send():
            self._poll_interval_s = POLL_INTERVAL_S
            self._socket.settimeout(POLL_INTERVAL_S)

    def close(self) -> None:
        """Close the socket, and wake the thread that waits for a packet."""
        super().complete_handshake()  # ends the timer's thread
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        super().close()

    def limit_keys(self, size: int, seconds: float) -> None:
        """Rekey after fewer bytes or seconds than the default; 0 keeps it. Call before the first key exchange."""
        self.REKEY_BYTES = min(size or self.REKEY_BYTES, self.REKEY_BYTES)
        self.REKEY_AFTER = min(seconds or self.REKEY_AFTER, self.REKEY_AFTER)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call it in the transport's thread, where it may send and block."""
        self._callbacks.append(callback)

    def _next_line(self) -> bytes | None:
        """Remove the next line from the unread bytes; None while it is incomplete."""
        line, newline, rest = bytes(self._unread).partition(b"\n")
        if len(line) > MAX_PACKET_BYTES:
            raise paramiko.SSHException("line before the identification string too long")
        if not newline:
            return None
        self._unread = rest
        return line

    def _receive(self) -> bytes:
        """The next block; b"" after a poll interval without one. Raises EOFError at the end."""
        try:
            block: bytes = self._socket.recv(RECV_SIZE)
        except TimeoutError:
            self._check_timeout()
            return b""
        except OSError:
            if self.closed:
                raise EOFError from None
            raise
        if not block:
            raise EOFError
        if self._is_tcp and len(block) < QUICKACK_MAX_BYTES:
            quick_ack(self._socket)
        return block

    def _wait_for_more(self) -> None:
        self._unread = bytes(self._unread) + self._receive()

    def _check_timeout(self) -> None:
        if self.closed or self.handshake_timed_out():
            raise EOFError

    def _run_callbacks(self) -> None:
        while self._callbacks and self.can_send():
            self._callbacks.popleft()()
        if self.can_send():
            self._check_keepalive()

    def _rekey_due(self) -> bool:
        return self.need_rekey() and not self._rekey_signalled

    def _check_for_rekey(self) -> None:
        if time.monotonic() > self.kex_deadline:
            raise paramiko.SSHException("key exchange timed out")
        if self._rekey_due():
            self._rekey_signalled = True
            raise NeedRekeyException

    def receive_data(self, block: Block) -> None:
        """Decrypt the packets in the block, together with the rest of earlier ones; uses no socket.

        Calls `packet_handler` for each packet until it does not handle one, which `read_message` returns.
        Raises SSHException.
        """
        if self._unread:
            block = bytes(self._unread) + block if block else self._unread
        offset = 0
        while self._pending is None:
            decrypted = self._inbound_cipher.decrypt_packet(block, offset, self._sequence)
            if decrypted is None:
                break
            packet, size = decrypted
            offset += size
            self._sequence = next_sequence(self._sequence, self._initial_kex_done)
            now = self.last_received_at = time.monotonic()
            self._handle_packet(packet)
            self.received_bytes += size
            limit_reached = self.received_bytes >= self._receive_limit or now >= self._rekey_at
            if limit_reached and not self.need_rekey():
                self._trigger_rekey()
        self._unread = memoryview(block)[offset:]

    def _handle_packet(self, packet: bytes | memoryview) -> None:
        padding = packet[0]
        payload = memoryview(packet)[1 : max(1, len(packet) - padding)]
        if payload and self._decompress is not None:
            payload = memoryview(self._decompress(bytes(payload)))
        if not payload:
            raise paramiko.SSHException("packet without a payload received")
        message_type = payload[0]
        if not self.packet_handler(message_type, payload):
            message = Message(bytes(payload[1:]))
            message.seqno = (self._sequence - 1) & 0xFFFFFFFF
            self._pending = message_type, message
