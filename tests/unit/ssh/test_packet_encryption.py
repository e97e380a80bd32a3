"""Packets arrive as they were sent, wherever the network split them, and a damaged one is never delivered."""

import contextlib
import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest
from asyncssh.encryption import get_encryption
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from hypothesis import given, settings
from hypothesis import strategies as st
from paramiko.compress import ZlibCompressor
from paramiko.packet import Packetizer

from notebooks_over_ssh.ssh.protocol import packet_encryption, packetizer
from notebooks_over_ssh.ssh.protocol.compression import Decompressor
from notebooks_over_ssh.ssh.protocol.nested_packetizer import NestedPacketizer
from notebooks_over_ssh.ssh.protocol.packet_encryption import (
    MAX_PACKET_BYTES,
    MIN_PACKET_BYTES,
    ChaChaCipher,
)
from notebooks_over_ssh.ssh.protocol.packetizer import BlockPacketizer

KEY, NONCE, MAC_KEY = bytes(range(16)), bytes(range(100, 116)), bytes(range(32))
CHACHA_KEY = bytes(range(150, 214))
# A message number for private use (RFC 4250, section 4.1.2).
KIND = 200
KINDS = ("plain", "gcm", "chacha", "ctr-etm", "ctr")
TIMEOUT_S = 10.0

Payloads = st.lists(st.binary(min_size=0, max_size=3000), min_size=1, max_size=8)


class SentBytes:
    """A socket that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> int:
        """Accept all of the data."""
        self.sent.append(bytes(data))
        return len(data)

    def close(self) -> None:
        """Do nothing."""


class BlockSource:
    """A socket that returns one block per call, then end of file."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = [block for block in blocks if block]

    def recv(self, size: int) -> bytes:
        """The next block."""
        return self._blocks.pop(0) if self._blocks else b""

    def settimeout(self, timeout_s: float) -> None:
        """Do nothing: it never waits."""


class JumpChannel:
    """A jump channel that passes one block per call to its receiver, in the caller's thread."""

    def __init__(self) -> None:
        self.granted = 0
        """How many bytes more the peer may send than at the beginning."""

    def set_receiver(self, feed: Any, end: Any) -> None:
        """Keep the receiver's callbacks."""
        self.feed, self.feed_eof = feed, end

    def consumed(self, size: int) -> None:
        """Count the bytes."""
        self.granted += size

    credit = consumed

    def close(self) -> None:
        """Do nothing."""

    shutdown = settimeout = lambda self, _: None


def set_ciphers(packets: Any, direction: str, kind: str, compressed: bool = False) -> None:
    """Set the packetizer's keys for a direction, `outbound` or `inbound`."""
    suffix = "out" if direction == "outbound" else "in"
    setter = getattr(packets, f"set_{direction}_cipher")
    if kind == "gcm":
        setter(AESGCM(KEY), 16, None, 16, None, aead=True, **{f"iv_{suffix}": NONCE[:12]})
    elif kind == "chacha":
        setter(ChaChaCipher(CHACHA_KEY), 8, None, 16, None, aead=True, **{f"iv_{suffix}": b""})
    elif kind != "plain":
        mode = CTR(NONCE)
        cipher = Cipher(AES(KEY), mode)
        engine = cipher.encryptor() if direction == "outbound" else cipher.decryptor()
        setter(engine, 16, hashlib.sha256, 32, MAC_KEY, etm=kind == "ctr-etm")
    if compressed:
        zlib = ZlibCompressor() if direction == "outbound" else Decompressor()
        getattr(packets, f"set_{direction}_compressor")(zlib)


def encrypt(payloads: Iterable[bytes], kind: str, compressed: bool = False) -> list[bytes]:
    """The packets that Paramiko's own packetizer sends for the payloads, one each; asyncssh's with ChaCha20."""
    if kind == "chacha":
        compress = ZlibCompressor() if compressed else bytes
        return [
            encrypt_chacha(compress(bytes([KIND]) + payload), sequence)
            for sequence, payload in enumerate(payloads)
        ]
    sent_bytes: Any = SentBytes()
    packets: Any = Packetizer(sent_bytes)
    set_ciphers(packets, "outbound", kind, compressed)
    for payload in payloads:
        packets.send_message(paramiko.Message(bytes([KIND]) + payload))
    sent: list[bytes] = sent_bytes.sent
    return sent


def encrypt_chacha(payload: bytes, sequence: int, size: int | None = None) -> bytes:
    """The packet that asyncssh sends for the payload, with another length field if `size` is given."""
    padding = 4 + -(1 + len(payload) + 4) % 8
    packet = bytes([padding]) + payload + bytes(padding)
    header = (len(packet) if size is None else size).to_bytes(4, "big")
    cipher = get_encryption(b"chacha20-poly1305@openssh.com", CHACHA_KEY, b"")
    return b"".join(cipher.encrypt_packet(sequence, header, packet))


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The data, split at these offsets from its beginning and around its end."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


def decrypt(blocks: Iterable[bytes], kind: str, compressed: bool = False) -> Iterator[bytes]:
    """The payloads in the blocks, as our packetizer reads them. Raises EOFError at the end, SSHException."""
    packets = BlockPacketizer(BlockSource(blocks))
    set_ciphers(packets, "inbound", kind, compressed)
    while True:
        number, message = packets.read_message()
        assert number == KIND
        yield message.asbytes()


def collect(packets: Iterator[bytes]) -> tuple[list[bytes], Exception]:
    """All payloads, and the exception that ended them."""
    got: list[bytes] = []
    try:
        got.extend(packets)
    except (paramiko.SSHException, EOFError) as error:
        return got, error
    raise AssertionError("it never ended")


@pytest.mark.parametrize("compressed", [False, True], ids=["", "compressed"])
@pytest.mark.parametrize("kind", KINDS)
@given(payloads=Payloads, cuts=st.lists(st.integers(0, 50_000), max_size=40))
@settings(max_examples=60, deadline=None)
def test_split_anywhere(kind: str, compressed: bool, payloads: list[bytes], cuts: list[int]) -> None:
    """However the packets are split into blocks, the payloads arrive unchanged and in order."""
    sent_bytes = b"".join(encrypt(payloads, kind, compressed))
    got, end = collect(decrypt(split(sent_bytes, cuts), kind, compressed))
    assert got == payloads
    assert isinstance(end, EOFError)


@pytest.mark.parametrize("kind", KINDS)
def test_byte_by_byte(kind: str) -> None:
    """Blocks of one byte work."""
    payloads = [b"", b"x" * 15, b"y" * 16, b"z" * 1000]
    sent_bytes = b"".join(encrypt(payloads, kind))
    assert collect(decrypt([sent_bytes[at : at + 1] for at in range(len(sent_bytes))], kind))[0] == payloads


@pytest.mark.parametrize("kind", KINDS)
@given(payloads=Payloads, cuts=st.lists(st.integers(0, 50_000), max_size=20))
@settings(max_examples=60, deadline=None)
def test_inline_packets(kind: str, payloads: list[bytes], cuts: list[int]) -> None:
    """Packets that a channel handles as they arrive keep their order among the others."""
    packets = BlockPacketizer(BlockSource(split(b"".join(encrypt(payloads, kind)), cuts)))
    set_ciphers(packets, "inbound", kind)
    everything: list[bytes] = []
    turn = iter(range(10**6))

    def handle_every_other(number: int, payload: memoryview) -> bool:
        if next(turn) % 2:
            return False
        everything.append(bytes(payload[1:]))
        return True

    packets.packet_handler = handle_every_other
    with contextlib.suppress(EOFError):
        while True:
            everything.append(packets.read_message()[1].asbytes())
    assert everything == payloads


@pytest.mark.parametrize("kind", KINDS)
@given(payloads=Payloads, cuts=st.lists(st.integers(0, 50_000), max_size=20))
@settings(max_examples=40, deadline=None)
def test_nested_packetizer(kind: str, payloads: list[bytes], cuts: list[int]) -> None:
    """A nested packetizer reads the same, whichever thread feeds its blocks."""
    carrier = JumpChannel()
    packets = NestedPacketizer(carrier)
    set_ciphers(packets, "inbound", kind)

    def feed() -> None:
        for block in split(b"".join(encrypt(payloads, kind)), cuts):
            carrier.feed(memoryview(block))

    thread = threading.Thread(target=feed)
    thread.start()
    got = [packets.read_message()[1].asbytes() for _ in payloads]
    thread.join(TIMEOUT_S)
    assert got == payloads
    carrier.feed_eof()
    with pytest.raises(EOFError):
        packets.read_message()


def test_lines_before_the_packets() -> None:
    """No line before the packets is lost, however the feeding and the reading thread interleave."""
    carrier = JumpChannel()
    packets = NestedPacketizer(carrier)
    nested = [f"line {number}" for number in range(5000)]

    def feed() -> None:
        for line in nested:
            carrier.feed(memoryview(f"{line}\r\n".encode()))

    before = sys.getswitchinterval()
    thread = threading.Thread(target=feed)
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        got: list[str] = []
        while len(got) < len(nested):
            got.append(packets.read_line(time.monotonic() + TIMEOUT_S))
            assert got[-1] == nested[len(got) - 1]
    finally:
        sys.setswitchinterval(before)
        thread.join(TIMEOUT_S)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plain"])
@given(
    payloads=Payloads,
    where=st.integers(0, 10**6),
    bit=st.integers(0, 7),
    cuts=st.lists(st.integers(0, 50_000), max_size=5),
)
@settings(max_examples=100, deadline=None)
def test_damaged(kind: str, payloads: list[bytes], where: int, bit: int, cuts: list[int]) -> None:
    """After one wrong bit anywhere, neither its packet nor a later one is delivered."""
    packets = encrypt(payloads, kind)
    sent_bytes = bytearray(b"".join(packets))
    at = where % len(sent_bytes)
    sent_bytes[at] ^= 1 << bit
    whole = 0
    while at >= len(packets[whole]):
        at -= len(packets[whole])
        whole += 1
    got, _ = collect(decrypt(split(bytes(sent_bytes), cuts), kind))
    assert got == payloads[:whole]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plain"])
def test_replayed_and_missing(kind: str) -> None:
    """A repeated packet, or one after a missing packet, is refused."""
    first, second, third = encrypt([b"one", b"two", b"three"], kind)
    for sent_bytes in (first + first + second, first + third, second):
        got, end = collect(decrypt([sent_bytes], kind))
        assert got in ([], [b"one"])
        assert isinstance(end, paramiko.SSHException)


@pytest.mark.parametrize("kind", ["plain", "gcm", "chacha", "ctr-etm"])
@pytest.mark.parametrize("size", [0, 1, MIN_PACKET_BYTES - 1, MAX_PACKET_BYTES + 1, 2**31, 2**32 - 1])
def test_impossible_length(kind: str, size: int) -> None:
    """An impossible length is refused at once: nobody waits for 4 GB."""
    length = size.to_bytes(4, "big")
    got, end = collect(decrypt([encrypt_chacha(b"", 0, size)[:4] if kind == "chacha" else length], kind))
    assert got == []
    assert isinstance(end, paramiko.SSHException)


def test_no_payload() -> None:
    """A packet without a payload is refused."""
    for padding in (11, 12, 255):
        packet = (12).to_bytes(4, "big") + bytes([padding]) + bytes(11)
        got, end = collect(decrypt([packet], "plain"))
        assert got == []
        assert isinstance(end, paramiko.SSHException)


def test_damage_ends_one_transport() -> None:
    """A damaged packet of a nested transport ends that one, and not the thread that fed it."""
    carrier = JumpChannel()
    packets = NestedPacketizer(carrier)
    set_ciphers(packets, "inbound", "gcm")
    (sent_bytes,) = encrypt([b"hello"], "gcm")
    with pytest.raises(paramiko.SSHException):
        _read_while_feeding(packets, carrier, sent_bytes[:-1] + bytes([sent_bytes[-1] ^ 1]))
    carrier.feed(memoryview(sent_bytes))
    with pytest.raises(paramiko.SSHException):
        packets.read_message()


def _read_while_feeding(packets: NestedPacketizer, carrier: JumpChannel, sent_bytes: bytes) -> None:
    thread = threading.Thread(target=carrier.feed, args=(memoryview(sent_bytes),))
    thread.start()
    try:
        packets.read_message()
    finally:
        thread.join(TIMEOUT_S)


@pytest.mark.parametrize("sequence", [0, 1, 2**31, 2**32 - 1])
def test_chacha_is_asyncssh_s(sequence: int) -> None:
    """Each side reads what the other encrypts, with any sequence number and any size."""
    peer: Any = get_encryption(b"chacha20-poly1305@openssh.com", CHACHA_KEY, b"")
    ours = ChaChaCipher(CHACHA_KEY)
    for payload in (b"\xc8", bytes(range(256)), b"x" * 100_000):
        sent = ours.encrypt_packet(payload, sequence)
        encrypted, length = peer.decrypt_header(sequence, sent[:4], 4)
        assert 4 + int.from_bytes(length, "big") + 16 == len(sent)
        packet = peer.decrypt_packet(sequence, encrypted, sent[4:-16], 4, sent[-16:])
        assert packet is not None
        assert packet[1 : len(packet) - packet[0]] == payload
        assert len(packet) % 8 == 0
        decrypted = ours.decrypt_packet(b"before" + encrypt_chacha(payload, sequence) + b"after", 6, sequence)
        assert decrypted is not None
        assert bytes(decrypted[0][1:])[: len(payload)] == payload


def test_sequence_number_wraps_around() -> None:
    """After packet 2**32 - 1 comes packet 0, with the key in use; during the first key exchange that is refused."""
    for initial_kex_done in (True, False):
        packets: Any = BlockPacketizer(
            BlockSource([encrypt_chacha(bytes([KIND, 1]), 2**32 - 1), encrypt_chacha(bytes([KIND, 2]), 0)])
        )
        set_ciphers(packets, "inbound", "chacha")
        packets._sequence = 2**32 - 1
        packets._initial_kex_done = initial_kex_done
        if initial_kex_done:
            assert [packets.read_message()[1].asbytes() for _ in range(2)] == [b"\1", b"\2"]
        else:
            with pytest.raises(paramiko.SSHException, match="wrapped around"):
                packets.read_message()


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_chacha_uses_no_nonce_twice(monkeypatch: pytest.MonkeyPatch, direction: str) -> None:
    """Once every sequence number was used with a key, no packet is sent or accepted with it."""
    monkeypatch.setattr(packet_encryption, "MAX_PACKETS_PER_KEY", 3)
    cipher = ChaChaCipher(CHACHA_KEY)

    def handle(sequence: int) -> None:
        if direction == "outbound":
            cipher.encrypt_packet(b"x", sequence)
        else:
            whole = encrypt_chacha(b"x", sequence)
            assert cipher.decrypt_packet(whole[:-1], 0, sequence) is None
            assert cipher.decrypt_packet(whole, 0, sequence) is not None

    for sequence in range(3):
        handle(sequence)
    with pytest.raises(paramiko.SSHException, match="too many packets"):
        handle(3)


@pytest.mark.parametrize(("kind", "limit_bytes"), [("ctr", 2**32), ("chacha", 2**30)])
@pytest.mark.parametrize("limit", ["time", "bytes"])
@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_new_keys(
    monkeypatch: pytest.MonkeyPatch, direction: str, limit: str, kind: str, limit_bytes: int
) -> None:
    """New keys are due after an hour or 4 GiB (ChaCha20: 1 GiB) in one direction, not before; then the count begins
    again.
    """
    now = 1000.0
    monkeypatch.setattr(packetizer, "time", SimpleNamespace(monotonic=lambda: now))
    packets: Any = BlockPacketizer(SentBytes())
    packets.packet_handler = lambda number, payload: True

    def begin() -> Callable[[], None]:
        """With new keys, what sends or receives the next packet."""
        for each in ("inbound", "outbound"):
            set_ciphers(packets, each, kind)
        packets.reset_seqno_in()
        packets.reset_seqno_out()
        if direction == "outbound":
            return lambda: packets.send_message(paramiko.Message(bytes([KIND])))
        wire = iter(encrypt([b""] * 5, kind))
        return lambda: packets.receive_data(next(wire))

    counter = "_sent_bytes" if direction == "outbound" else "received_bytes"
    for _ in range(2):
        handle_one = begin()
        handle_one()
        size = getattr(packets, counter)
        if limit == "time":
            now += 3599
        else:
            setattr(packets, counter, limit_bytes - 2 * size)
        handle_one()
        assert not packets.need_rekey()
        now += 1
        handle_one()
        assert packets.need_rekey()
    begin()()
    assert not packets.need_rekey()
