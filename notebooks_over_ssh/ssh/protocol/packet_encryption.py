"""Opens and seals packets (RFC 4253, section 6), each kind by how it is protected. One envelope serves one direction.

`decrypt_packet` takes a block, where in it a packet begins, and the packet's sequence number. It returns the packet without its
length, and its size on the wire; None while not all of it is there. It raises SSHException for what is damaged.
`encrypt_packet` takes a payload and a sequence number, and returns what goes on the wire.
"""

import hmac
import os
import struct
import threading
from typing import Any

import paramiko
from cryptography.exceptions import InvalidTag

# What OpenSSH takes at most (PACKET_MAX_SIZE in its packet.c); RFC 4253, section 6.1, asks for 35000 at least.
MAX_PACKET_BYTES = 256 * 1024
MIN_PACKET_BYTES = 5

RANDOM_POOL_BYTES = 4096
_random_pool = bytearray()
_random_pool_lock = threading.Lock()

Block = bytes | memoryview
DecryptedPacket = tuple[Block, int] | None


class PlainCipher:
    """Before the first keys."""

    def decrypt_packet(self, block: Block, offset: int, sequence: int) -> DecryptedPacket:
        """See above."""
        size = _size(block, offset)
        if size == 0 or len(block) < offset + 4 + size:
            return None
        return memoryview(block)[offset + 4 : offset + 4 + size], 4 + size

    def encrypt_packet(self, payload: bytes, sequence: int) -> bytes:
        """See above."""
        return b"".join(_pad(payload, 8, 4))


class GCMCipher:
    """RFC 5647, section 7.3: the length is plain, and protected together with the packet."""

    def __init__(self, cipher: Any, block_size: int, nonce: bytes, tag_size: int) -> None:
        self._cipher = cipher
        self._block_size = block_size
        self._fixed = nonce[:4]
        self._counter = int.from_bytes(nonce[4:], "big")
        self._tag_size = tag_size

    def decrypt_packet(self, block: Block, offset: int, sequence: int) -> DecryptedPacket:
        """See above."""
        size = _size(block, offset)
        end = offset + 4 + size + self._tag_size
        if size == 0 or len(block) < end:
            return None
        view = memoryview(block)
        try:
            packet: bytes = self._cipher.decrypt(
                self._nonce(), view[offset + 4 : end], view[offset : offset + 4]
            )
        except InvalidTag as error:
            raise _integrity_error() from error
        return packet, end - offset

    def encrypt_packet(self, payload: bytes, sequence: int) -> bytes:
        """See above."""
        size, *rest = _pad(payload, self._block_size, 0)
        encrypted: bytes = self._cipher.encrypt(self._nonce(), b"".join(rest), size)
        return size + encrypted

    def _nonce(self) -> bytes:
        nonce = self._fixed + (self._counter & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")
        self._counter += 1
        return nonce


class ETMCipher:
    """`-etm@openssh.com`, PROTOCOL section 1.5 of OpenSSH: the length is plain, the MAC is of what was encrypted."""

    def __init__(self, cipher: Any, block_size: int, mac: "Mac") -> None:
        self._cipher = cipher
        self._block_size = block_size
        self._mac = mac

    def decrypt_packet(self, block: Block, offset: int, sequence: int) -> DecryptedPacket:
        """See above."""
        size = _size(block, offset)
        end = offset + 4 + size
        if size == 0 or len(block) < end + self._mac.size:
            return None
        view = memoryview(block)
        self._mac.verify(view[offset:end], view[end : end + self._mac.size], sequence)
        return self._cipher.update(view[offset + 4 : end]), end + self._mac.size - offset

    def encrypt_packet(self, payload: bytes, sequence: int) -> bytes:
        """See above."""
        size, *rest = _pad(payload, self._block_size, 0)
        encrypted: bytes = size + self._cipher.update(b"".join(rest))
        return encrypted + self._mac.compute(encrypted, sequence)


class BasicCipher:
    """RFC 4253, section 6: the length is encrypted too, so the first block is decrypted before the rest is there."""

    def __init__(self, cipher: Any, block_size: int, mac: "Mac") -> None:
        self._cipher = cipher
        self._block_size = block_size
        self._mac = mac
        self._first_block = b""

    def decrypt_packet(self, block: Block, offset: int, sequence: int) -> DecryptedPacket:
        """See above."""
        view = memoryview(block)
        if not self._first_block:
            if len(block) < offset + self._block_size:
                return None
            self._first_block = self._cipher.update(view[offset : offset + self._block_size])
        size = _size(self._first_block, 0)
        end = offset + 4 + size
        if len(block) < end + self._mac.size:
            return None
        packet = self._first_block + self._cipher.update(view[offset + self._block_size : end])
        self._first_block = b""
        self._mac.verify(packet, view[end : end + self._mac.size], sequence)
        return packet[4:], end + self._mac.size - offset

    def encrypt_packet(self, payload: bytes, sequence: int) -> bytes:
        """See above."""
        packet = b"".join(_pad(payload, self._block_size, 4))
        encrypted: bytes = self._cipher.update(packet)
        return encrypted + self._mac.compute(packet, sequence)


class Mac:
    """A message authentication code over the sequence number and what is protected (RFC 4253, section 6.4)."""

    def __init__(self, algorithm: Any, size: int, key: bytes) -> None:
        self.size = size
        self._algorithm = algorithm
        self._key = key

    def compute(self, protected: Block, sequence: int) -> bytes:
        """The code of what it protects."""
        mac = hmac.new(self._key, struct.pack(">I", sequence), self._algorithm)
        mac.update(protected)
        return mac.digest()[: self.size]

    def verify(self, protected: Block, received_mac: Block, sequence: int) -> None:
        """Raise SSHException unless the code that was shown is that of what it protects."""
        if not hmac.compare_digest(self.compute(protected, sequence), received_mac):
            raise _integrity_error()


def _size(block: Block, offset: int) -> int:
    """How long the packet is that begins there; 0 where that is not known yet."""
    if len(block) < offset + 4:
        return 0
    (size,) = struct.unpack_from(">I", block, offset)
    if not MIN_PACKET_BYTES <= size <= MAX_PACKET_BYTES:
        raise paramiko.SSHException("it sent a packet of no possible length")
    return int(size)


def _pad(payload: bytes, block_size: int, counted_length_bytes: int) -> tuple[bytes, bytes, bytes, bytes]:
    """The length, the length of the padding, the payload and the padding, of 4 bytes at least.

    `counted_length_bytes` is 4 where the length is encrypted, and so counts for what must fill whole blocks, else 0.
    """
    padding = 4 + -(counted_length_bytes + 1 + len(payload) + 4) % block_size
    return struct.pack(">I", 1 + len(payload) + padding), bytes((padding,)), payload, _random(padding)


PacketCipher = PlainCipher | GCMCipher | ETMCipher | BasicCipher


def make_cipher(cipher: Any, block_size: int, mac: Mac, etm: bool, nonce: bytes | None) -> PacketCipher:
    """The protection of the packets of one direction, from the engine of its cipher and, for AES-GCM, its nonce."""
    if nonce is not None:
        return GCMCipher(cipher, block_size, nonce, mac.size)
    return ETMCipher(cipher, block_size, mac) if etm else BasicCipher(cipher, block_size, mac)


def _random(size: int) -> bytes:
    """Random bytes, each given once; the system is asked for many at a time, as each time costs as much as to encrypt 10 KiB."""
    with _random_pool_lock:
        if len(_random_pool) < size:
            _random_pool.extend(os.urandom(RANDOM_POOL_BYTES))
        data = bytes(_random_pool[-size:])
        del _random_pool[-size:]
    return data


def _integrity_error() -> paramiko.SSHException:
    return paramiko.SSHException("a packet was damaged on the way")
