"""Encryption and framing of packets (RFC 4253, section 6), without a socket. Each object serves one direction.

`decrypt_packet` takes a block, the offset of a packet in it, and the packet's sequence number. It returns the packet
without its length field, and its size on the wire; None while the packet is incomplete. It raises SSHException for a
corrupt one. `encrypt_packet` takes a payload and a sequence number, and returns the bytes for the wire.
"""

import hmac
import os
import struct
import threading
from typing import Any

import paramiko
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.poly1305 import Poly1305

# PACKET_MAX_SIZE in OpenSSH's packet.c; RFC 4253, section 6.1, requires support for 35000.
MAX_PACKET_BYTES = 256 * 1024
# RFC 4344, section 3.2: rekey after 2**(L/4) blocks of L bits. AES has L = 128, which gives 2**32 blocks of 16 bytes;
# this is a sixteenth of that, as in OpenSSH.
REKEY_AFTER_BYTES = 2**32
# PROTOCOL.chacha20poly1305, "Rekeying": "every 1GB of data sent or received".
CHACHA_REKEY_AFTER_BYTES = 2**30
MAX_PACKETS_PER_KEY = 2**32
POLY1305_TAG_BYTES = 16
CHACHA_BLOCK_BYTES = 64
CHACHA_PADDING_BYTES = 8
# The block counter, little-endian, then the nonce.
CHACHA_COUNTER_AND_NONCE = struct.Struct(">8xQ")
# One byte of padding length and at least four of padding (RFC 4253, section 6).
MIN_PACKET_BYTES = 5

RANDOM_POOL_BYTES = 4096
_random_pool = bytearray()
_random_pool_lock = threading.Lock()

Block = bytes | memoryview
DecryptedPacket = tuple[Block, int] | None


class PlainCipher:
    """No encryption and no MAC: before the first key exchange."""

    rekey_after_bytes = REKEY_AFTER_BYTES

    def decrypt_packet(self, block: Block, offset: int, sequence: int) -> DecryptedPacket:
        """See the module docstring."""
        size = _size(block, offset)
        if size == 0 or len(block) < offset + 4 + size:
            return None
        return memoryview(block)[offset + 4 : offset + 4 + size], 4 + size

    def encrypt_packet(self, payload: bytes, sequence: int) -> bytes:
        """See the module docstring."""
        return b"".join(_pad(payload, 8, 4))


class GCMCipher:
    """AES-GCM (RFC 5647, section 7.3): the length is sent in the clear, as additional authenticated data."""

    rekey_after_bytes = REKEY_AFTER_BYTES

    def __init__(self, cipher: Any, block_size: int, nonce: bytes, tag_size: int) -> None:
        self._cipher = cipher
        self._block_size = block_size
        self._fixed = nonce[:4]
        self._counter = int.from_bytes(nonce[4:], "big")
        self._tag_size = tag_size

    def decrypt_packet(self, block: Block, offset: int, sequence: int) -> DecryptedPacket:
        """See the module docstring."""
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
        """See the module docstring."""
        size, *rest = _pad(payload, self._block_size, 0)
        encrypted: bytes = self._cipher.encrypt(self._nonce(), b"".join(rest), size)
        return size + encrypted

    def _nonce(self) -> bytes:
        nonce = self._fixed + (self._counter & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")
        self._counter += 1
        return nonce


class ChaChaCipher:
    """ChaCha20 and Poly1305 (OpenSSH PROTOCOL.chacha20poly1305); the key's second half encrypts the length alone.

    The sequence number is the nonce. Block 0 of the first half's key stream is the key of Poly1305, and the packet is
    encrypted with the blocks after it.
    """

    rekey_after_bytes = CHACHA_REKEY_AFTER_BYTES

    def __init__(self, key: bytes) -> None:
        self._packet_cipher, self._length_cipher = (
            Cipher(ChaCha20(half, bytes(16)), None).encryptor() for half in (key[:32], key[32:])
        )
        self._packets = 0

    def decrypt_packet(self, block: Block, offset: int, sequence: int) -> DecryptedPacket:
        """See the module docstring."""
        if len(block) < offset + 4:
            return None
        view = memoryview(block)
        size = _size(self._encrypt_length(view[offset : offset + 4], sequence), 0)
        end = offset + 4 + size
        if len(block) < end + POLY1305_TAG_BYTES:
            return None
        tag = bytes(view[end : end + POLY1305_TAG_BYTES])
        try:
            Poly1305.verify_tag(self._next_tag_key(sequence), view[offset:end], tag)
        except InvalidSignature as error:
            raise _integrity_error() from error
        packet = self._packet_cipher.update(view[offset + 4 : end])
        return packet, end + POLY1305_TAG_BYTES - offset

    def encrypt_packet(self, payload: bytes, sequence: int) -> bytes:
        """See the module docstring."""
        size, *rest = _pad(payload, CHACHA_PADDING_BYTES, 0)
        tag_key = self._next_tag_key(sequence)
        encrypted = self._encrypt_length(size, sequence) + self._packet_cipher.update(b"".join(rest))
        return encrypted + Poly1305.generate_tag(tag_key, encrypted)

    def _encrypt_length(self, length: Block, sequence: int) -> bytes:
        """The encrypted length field; decrypts one as well."""
        self._length_cipher.reset_nonce(CHACHA_COUNTER_AND_NONCE.pack(sequence))
        return self._length_cipher.update(length)

    def _next_tag_key(self, sequence: int) -> bytes:
        """The key of Poly1305 for this packet. The packet itself is to be encrypted or decrypted next.

        Raises SSHException if a nonce would be used twice.
        """
        self._packets += 1
        if self._packets > MAX_PACKETS_PER_KEY:
            raise paramiko.SSHException("too many packets with one key")
        self._packet_cipher.reset_nonce(CHACHA_COUNTER_AND_NONCE.pack(sequence))
        return self._packet_cipher.update(bytes(CHACHA_BLOCK_BYTES))[:32]


class ETMCipher:
    """Encrypt-then-MAC (OpenSSH PROTOCOL, section 1.5): the length is not encrypted, the MAC covers the ciphertext."""

    rekey_after_bytes = REKEY_AFTER_BYTES

    def __init__(self, cipher: Any, block_size: int, mac: "Mac") -> None:
        self._cipher = cipher
        self._block_size = block_size
        self._mac = mac

    def decrypt_packet(self, block: Block, offset: int, sequence: int) -> DecryptedPacket:
        """See the module docstring."""
        size = _size(block, offset)
        end = offset + 4 + size
        if size == 0 or len(block) < end + self._mac.size:
            return None
        view = memoryview(block)
        self._mac.verify(view[offset:end], view[end : end + self._mac.size], sequence)
        return self._cipher.update(view[offset + 4 : end]), end + self._mac.size - offset

    def encrypt_packet(self, payload: bytes, sequence: int) -> bytes:
        """See the module docstring."""
        size, *rest = _pad(payload, self._block_size, 0)
        encrypted: bytes = size + self._cipher.update(b"".join(rest))
        return encrypted + self._mac.compute(encrypted, sequence)


class BasicCipher:
    """Encrypt-and-MAC (RFC 4253, section 6): the length is in the first cipher block, which is decrypted on its own."""

    rekey_after_bytes = REKEY_AFTER_BYTES

    def __init__(self, cipher: Any, block_size: int, mac: "Mac") -> None:
        self._cipher = cipher
        self._block_size = block_size
        self._mac = mac
        self._first_block = b""

    def decrypt_packet(self, block: Block, offset: int, sequence: int) -> DecryptedPacket:
        """See the module docstring."""
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
        """See the module docstring."""
        packet = b"".join(_pad(payload, self._block_size, 4))
        encrypted: bytes = self._cipher.update(packet)
        return encrypted + self._mac.compute(packet, sequence)


class Mac:
    """RFC 4253, section 6.4: `mac = MAC(key, sequence_number || unencrypted_packet)`; the ciphertext for -etm."""

    def __init__(self, algorithm: Any, size: int, key: bytes) -> None:
        self.size = size
        self._algorithm = algorithm
        self._key = key

    def compute(self, protected: Block, sequence: int) -> bytes:
        """The MAC of a packet."""
        mac = hmac.new(self._key, struct.pack(">I", sequence), self._algorithm)
        mac.update(protected)
        return mac.digest()[: self.size]

    def verify(self, protected: Block, received_mac: Block, sequence: int) -> None:
        """Raise SSHException unless `received_mac` is the MAC of the packet."""
        if not hmac.compare_digest(self.compute(protected, sequence), received_mac):
            raise _integrity_error()


def _size(block: Block, offset: int) -> int:
    """The packet_length field at the offset; 0 while it is incomplete. Raises SSHException if it is out of range."""
    if len(block) < offset + 4:
        return 0
    (size,) = struct.unpack_from(">I", block, offset)
    if not MIN_PACKET_BYTES <= size <= MAX_PACKET_BYTES:
        raise paramiko.SSHException("packet with an invalid length received")
    return int(size)


def _pad(payload: bytes, block_size: int, counted_length_bytes: int) -> tuple[bytes, bytes, bytes, bytes]:
    """The fields packet_length, padding_length, payload and random padding (RFC 4253, section 6).

    The encrypted part must fill whole blocks: `counted_length_bytes` is 4 if it includes packet_length, else 0.
    """
    padding = 4 + -(counted_length_bytes + 1 + len(payload) + 4) % block_size
    return struct.pack(">I", 1 + len(payload) + padding), bytes((padding,)), payload, _random(padding)


PacketCipher = PlainCipher | GCMCipher | ChaChaCipher | ETMCipher | BasicCipher


def make_cipher(cipher: Any, block_size: int, mac: Mac, etm: bool, nonce: bytes | None) -> PacketCipher:
    """The encryption for one direction. `nonce` is that of AES-GCM, empty for ChaCha20, None for any other cipher."""
    if isinstance(cipher, ChaChaCipher):
        return cipher
    if nonce is not None:
        return GCMCipher(cipher, block_size, nonce, mac.size)
    return ETMCipher(cipher, block_size, mac) if etm else BasicCipher(cipher, block_size, mac)


def next_sequence(sequence: int, initial_kex_done: bool) -> int:
    """The sequence number after this one (RFC 4253, section 6.4).

    Raises SSHException if it wraps around during the first key exchange, which no honest peer makes it do.
    """
    sequence = (sequence + 1) & 0xFFFFFFFF
    if sequence == 0 and not initial_kex_done:
        raise paramiko.SSHException("the sequence number wrapped around during the first key exchange")
    return sequence


def _random(size: int) -> bytes:
    """Random bytes from a pool: a system call for each packet would cost as much as the encryption of 10 KiB."""
    with _random_pool_lock:
        if len(_random_pool) < size:
            _random_pool.extend(os.urandom(RANDOM_POOL_BYTES))
        data = bytes(_random_pool[-size:])
        del _random_pool[-size:]
    return data


def _integrity_error() -> paramiko.SSHException:
    return paramiko.SSHException("corrupt packet: the MAC does not match")
