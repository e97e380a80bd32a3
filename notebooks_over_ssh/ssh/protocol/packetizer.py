"""The SSH packets of a transport (RFC 4253, section 6): read from large blocks, and handed on where they arrive.

Paramiko reads each packet with two system calls, and passes its data from thread to thread. Here a block is as large as
the network has it, and what a stream carries goes to where it belongs in the thread that received it. All other packets wait
for the transport's own thread, and everything behind them waits too: the order of the packets is kept.
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
    Block,
    Mac,
    PacketCipher,
    PlainCipher,
    make_cipher,
)
from notebooks_over_ssh.ssh.protocol.tcp_latency import quick_ack

RECV_SIZE = 256 * 1024
# What a peer may wait with more behind, until it is acknowledged; in a transfer enough goes on by itself.
QUICKACK_MAX_BYTES = 16 * 1024
# RFC 4344, section 3.2: with blocks of L bits, keys are good for 2**(L/4) blocks; each cipher that is offered has L = 128,
# and so 2**32 blocks of 16 bytes. A sixteenth of that leaves no doubt.
REKEY_AFTER_BYTES = 2**32
# RFC 4253, section 9: new keys after an hour, in seconds. Where nothing flows, nobody asks.
REKEY_AFTER = 3600.0
# how often a thread that waits looks whether the handshake has taken too long
HANDSHAKE_POLL_INTERVAL_S = 0.1
POLL_INTERVAL_S = 1.0

_Packetizer: Any = Packetizer  # its stubs know little of this class
PacketHandler = Callable[[int, memoryview], bool]


class BlockPacketizer(_Packetizer):  # type: ignore[misc] # as above
    """The packets of one transport, read from a socket by the transport's own thread."""

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
        """Takes a packet in the thread that received it, and returns whether it did. It must not send."""
        self.can_send: Callable[[], bool] = lambda: False
        """Whether the transport's own thread can send without waiting for itself: not while keys are exchanged."""
        self._outbound_cipher: PacketCipher = PlainCipher()
        self._send_lock = threading.RLock()
        self._sent_sequence = 0
        self._sent_bytes = 0
        self._compress: Callable[[bytes], bytes] | None = None
        self.last_received_at = time.monotonic()
        """When the peer was heard last."""
        self.received_bytes = 0
        self.kex_deadline = math.inf
        """When the exchange of keys that was begun must have ended."""
        self._rekey_at = math.inf

    # ---- what Paramiko's transport calls ----

    def read_message(self) -> tuple[int, paramiko.Message]:
        """The next packet that is not taken at once; only the transport's own thread calls it.

        Raises EOFError at the end, SSHException for a packet that is damaged, NeedRekeyException when it is time.
        """
        self._pending = None
        self._process_block(b"")
        while self._pending is None:
            self._run_callbacks()
            self._check_for_rekey()
            self._process_block(self._receive())
        return self._pending

    def readline(self, timeout: float) -> str:
        """A line from before the first packet. Raises EOFError, TimeoutError."""
        deadline = time.monotonic() + timeout
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
        """Read with these keys from the next packet on."""
        super().set_inbound_cipher(
            block_engine, block_size, mac_engine, mac_size, mac_key, etm=etm, aead=aead, iv_in=iv_in
        )
        self._inbound_cipher = make_cipher(
            block_engine, block_size, Mac(mac_engine, mac_size, mac_key), etm, iv_in if aead else None
        )
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
        """Send with these keys from the next packet on."""
        super().set_outbound_cipher(
            block_engine, block_size, mac_engine, mac_size, mac_key, sdctr, etm, aead, iv_out
        )
        self._outbound_cipher = make_cipher(
            block_engine, block_size, Mac(mac_engine, mac_size, mac_key), etm, iv_out if aead else None
        )
        self._sent_bytes = 0

    def set_inbound_compressor(self, compressor: Callable[[bytes], bytes]) -> None:
        """Expand every packet with it from the next one on."""
        self._decompress = compressor

    def set_outbound_compressor(self, compressor: Callable[[bytes], bytes]) -> None:
        """Compress every packet with it from the next one on."""
        self._compress = compressor

    def send_message(self, message: paramiko.Message) -> None:
        """Send a packet; waits until the network has taken all of it. Raises EOFError when the connection has ended."""
        payload = message.asbytes()
        with self._send_lock:
            if self._compress is not None:
                payload = self._compress(payload)
            encrypted = self._outbound_cipher.encrypt_packet(payload, self._sent_sequence)
            self._sent_sequence = _next(self._sent_sequence, self._initial_kex_done)
            self.write_all(encrypted)
            self._sent_bytes += len(encrypted)
            if (
                self._sent_bytes >= self.REKEY_BYTES or time.monotonic() >= self._rekey_at
            ) and not self.need_rekey():
                self._trigger_rekey()

    def reset_seqno_out(self) -> None:
        """Count from zero again, as strict key exchange has it after new keys."""
        self._sent_sequence = 0

    def reset_seqno_in(self) -> None:
        """Count from zero again, as strict key exchange has it after new keys."""
        self._sequence = 0

    def complete_handshake(self) -> None:
        """Wait longer from now on: nothing has to be done in time any more."""
        super().complete_handshake()
        if self._poll_interval_s != POLL_INTERVAL_S and self.can_send():
            self._poll_interval_s = POLL_INTERVAL_S
            self._socket.settimeout(POLL_INTERVAL_S)

    def close(self) -> None:
        """End the connection, and wake the thread that waits for a packet."""
        super().complete_handshake()  # ends the thread of its timer
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        super().close()

    # ---- what others call ----

    def limit_keys(self, size: int, seconds: float) -> None:
        """Make new keys after fewer bytes, or sooner; 0: as usual. Call it before the first key exchange."""
        self.REKEY_BYTES = min(size or self.REKEY_BYTES, self.REKEY_BYTES)
        self.REKEY_AFTER = min(seconds or self.REKEY_AFTER, self.REKEY_AFTER)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Have the transport's own thread do something that sends; for a thread that received and must not wait."""
        self._callbacks.append(callback)

    # ---- one block ----

    def _next_line(self) -> bytes | None:
        """Take the next line out of what is unread, if all of it is there."""
        line, newline, rest = bytes(self._unread).partition(b"\n")
        if len(line) > MAX_PACKET_BYTES:
            raise paramiko.SSHException("it sends a line without an end")
        if not newline:
            return None
        self._unread = rest
        return line

    def _receive(self) -> bytes:
        """The next block, b"" where none came in time. Raises EOFError at the end."""
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
            raise paramiko.SSHException("it did not finish the exchange of keys in time")
        if self._rekey_due():
            self._rekey_signalled = True
            raise NeedRekeyException

    def _process_block(self, block: Block) -> None:
        """Handle the packets in what is unread and the block, up to the first that is not taken at once."""
        if self._unread:
            block = bytes(self._unread) + block if block else self._unread
        offset = 0
        while self._pending is None:
            decrypted = self._inbound_cipher.decrypt_packet(block, offset, self._sequence)
            if decrypted is None:
                break
            packet, size = decrypted
            offset += size
            self._sequence = _next(self._sequence, self._initial_kex_done)
            self.last_received_at = time.monotonic()
            self._handle_packet(packet)
            self.received_bytes += size
            if (
                self.received_bytes >= self.REKEY_BYTES or self.last_received_at >= self._rekey_at
            ) and not self.need_rekey():
                self._trigger_rekey()
        self._unread = memoryview(block)[offset:]

    def _handle_packet(self, packet: bytes | memoryview) -> None:
        padding = packet[0]
        if padding + 2 > len(packet):
            raise paramiko.SSHException("it sent a packet of padding only")
        payload = memoryview(packet)[1 : len(packet) - padding]
        if self._decompress is not None:
            payload = memoryview(self._decompress(bytes(payload)))
            if not payload:
                raise paramiko.SSHException("it sent a packet of nothing")
        message_type = payload[0]
        if not self.packet_handler(message_type, payload):
            message = Message(bytes(payload[1:]))
            message.seqno = (self._sequence - 1) & 0xFFFFFFFF
            self._pending = message_type, message


def _next(sequence: int, is_safe: bool) -> int:
    """The next sequence number. Raises SSHException where it rolls over in the first key exchange, which only an attack does."""
    sequence = (sequence + 1) & 0xFFFFFFFF
    if sequence == 0 and not is_safe:
        raise paramiko.SSHException("the sequence number rolled over during the first key exchange")
    return sequence
