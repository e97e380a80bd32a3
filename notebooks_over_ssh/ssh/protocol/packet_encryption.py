"""Opens and seals packets (RFC 4253, section 6), each kind by how it is protected. One envelope serves one direction.

`open` takes a block, where in it a packet begins, and the packet's sequence number. It returns the packet without its
length, and its size on the wire; None while not all of it is there. It raises SSHException for what is damaged.
`seal` takes a payload and a sequence number, and returns what goes on the wire.
"""

import hmac
import os
import struct
import threading
from typing import Any

import paramiko
from cryptography.exceptions import InvalidTag

# What OpenSSH takes at most (PACKET_MAX_SIZE in its packet.c); RFC 4253, section 6.1, asks for 35000 at least.
LARGEST_PACKET = 256 * 1024
SMALLEST_PACKET = 5

DRAWN_AT_ONCE = 4096
_drawn = bytearray()
_drawing = threading.Lock()

Block = bytes | memoryview
Opened = tuple[Block, int] | None


class Plain:
    """Before the first keys."""

    def open(self, block: Block, at: int, sequence: int) -> Opened:
        """See above."""
        size = _size(block, at)
        if size == 0 or len(block) < at + 4 + size:
            return None
        return memoryview(block)[at + 4 : at + 4 + size], 4 + size

    def seal(self, payload: bytes, sequence: int) -> bytes:
        """See above."""
        return b"".join(_padded(payload, 8, 4))


class Aead:
    """RFC 5647, section 7.3: the length is plain, and protected together with the packet."""

    def __init__(self, cipher: Any, block_size: int, nonce: bytes, tag_size: int) -> None:
        self._cipher = cipher
        self._block_size = block_size
        self._fixed = nonce[:4]
        self._counter = int.from_bytes(nonce[4:], "big")
        self._tag_size = tag_size

    def open(self, block: Block, at: int, sequence: int) -> Opened:
        """See above."""
        size = _size(block, at)
        end = at + 4 + size + self._tag_size
        if size == 0 or len(block) < end:
            return None
        view = memoryview(block)
        try:
            packet: bytes = self._cipher.decrypt(self._nonce(), view[at + 4 : end], view[at : at + 4])
        except InvalidTag as error:
            raise _damaged() from error
        return packet, end - at

    def seal(self, payload: bytes, sequence: int) -> bytes:
        """See above."""
        size, *rest = _padded(payload, self._block_size, 0)
        sealed: bytes = self._cipher.encrypt(self._nonce(), b"".join(rest), size)
        return size + sealed

    def _nonce(self) -> bytes:
        nonce = self._fixed + (self._counter & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")
        self._counter += 1
        return nonce


class EncryptThenMac:
    """`-etm@openssh.com`, PROTOCOL section 1.5 of OpenSSH: the length is plain, the MAC is of what was encrypted."""

    def __init__(self, cipher: Any, block_size: int, mac: "Mac") -> None:
        self._cipher = cipher
        self._block_size = block_size
        self._mac = mac

    def open(self, block: Block, at: int, sequence: int) -> Opened:
        """See above."""
        size = _size(block, at)
        end = at + 4 + size
        if size == 0 or len(block) < end + self._mac.size:
            return None
        view = memoryview(block)
        self._mac.check(view[at:end], view[end : end + self._mac.size], sequence)
        return self._cipher.update(view[at + 4 : end]), end + self._mac.size - at

    def seal(self, payload: bytes, sequence: int) -> bytes:
        """See above."""
        size, *rest = _padded(payload, self._block_size, 0)
        sealed: bytes = size + self._cipher.update(b"".join(rest))
        return sealed + self._mac.of(sealed, sequence)


class EncryptAndMac:
    """RFC 4253, section 6: the length is encrypted too, so the first block is decrypted before the rest is there."""

    def __init__(self, cipher: Any, block_size: int, mac: "Mac") -> None:
        self._cipher = cipher
        self._block_size = block_size
        self._mac = mac
        self._first_block = b""

    def open(self, block: Block, at: int, sequence: int) -> Opened:
        """See above."""
        view = memoryview(block)
        if not self._first_block:
            if len(block) < at + self._block_size:
                return None
            self._first_block = self._cipher.update(view[at : at + self._block_size])
        size = _size(self._first_block, 0)
        end = at + 4 + size
        if len(block) < end + self._mac.size:
            return None
        packet = self._first_block + self._cipher.update(view[at + self._block_size : end])
        self._first_block = b""
        self._mac.check(packet, view[end : end + self._mac.size], sequence)
        return packet[4:], end + self._mac.size - at

    def seal(self, payload: bytes, sequence: int) -> bytes:
        """See above."""
        packet = b"".join(_padded(payload, self._block_size, 4))
        sealed: bytes = self._cipher.update(packet)
        return sealed + self._mac.of(packet, sequence)


class Mac:
    """A message authentication code over the sequence number and what is protected (RFC 4253, section 6.4)."""

    def __init__(self, algorithm: Any, size: int, key: bytes) -> None:
        self.size = size
        self._algorithm = algorithm
        self._key = key

    def of(self, protected: Block, sequence: int) -> bytes:
        """The code of what it protects."""
        code = hmac.new(self._key, struct.pack(">I", sequence), self._algorithm)
        code.update(protected)
        return code.digest()[: self.size]

    def check(self, protected: Block, shown: Block, sequence: int) -> None:
        """Raise SSHException unless the code that was shown is that of what it protects."""
        if not hmac.compare_digest(self.of(protected, sequence), shown):
            raise _damaged()


def _size(block: Block, at: int) -> int:
    """How long the packet is that begins there; 0 where that is not known yet."""
    if len(block) < at + 4:
        return 0
    (size,) = struct.unpack_from(">I", block, at)
    if not SMALLEST_PACKET <= size <= LARGEST_PACKET:
        raise paramiko.SSHException("it sent a packet of no possible length")
    return int(size)


def _padded(payload: bytes, block_size: int, length_counts: int) -> tuple[bytes, bytes, bytes, bytes]:
    """The length, the length of the padding, the payload and the padding, of 4 bytes at least.

    `length_counts` is 4 where the length is encrypted, and so counts for what must fill whole blocks, else 0.
    """
    padding = 4 + -(length_counts + 1 + len(payload) + 4) % block_size
    return struct.pack(">I", 1 + len(payload) + padding), bytes((padding,)), payload, _random(padding)


Envelope = Plain | Aead | EncryptThenMac | EncryptAndMac


def make_cipher(cipher: Any, block_size: int, mac: Mac, etm: bool, nonce: bytes | None) -> Envelope:
    """The protection of the packets of one direction, from the engine of its cipher and, for AES-GCM, its nonce."""
    if nonce is not None:
        return Aead(cipher, block_size, nonce, mac.size)
    return EncryptThenMac(cipher, block_size, mac) if etm else EncryptAndMac(cipher, block_size, mac)


def _random(size: int) -> bytes:
    """Random bytes, each given once; the system is asked for many at a time, as each time costs as much as to encrypt 10 KiB."""
    with _drawing:
        if len(_drawn) < size:
            _drawn.extend(os.urandom(DRAWN_AT_ONCE))
        taken = bytes(_drawn[-size:])
        del _drawn[-size:]
    return taken


def _damaged() -> paramiko.SSHException:
    return paramiko.SSHException("a packet was damaged on the way")
