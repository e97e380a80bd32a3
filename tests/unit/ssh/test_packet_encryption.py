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
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from hypothesis import given, settings
from hypothesis import strategies as st
from paramiko.compress import ZlibCompressor
from paramiko.packet import Packetizer

from notebooks_over_ssh.ssh.protocol import packetizer
from notebooks_over_ssh.ssh.protocol.compression import Decompressor
from notebooks_over_ssh.ssh.protocol.nested_packetizer import NestedPacketizer
from notebooks_over_ssh.ssh.protocol.packet_encryption import MAX_PACKET_BYTES, MIN_PACKET_BYTES
from notebooks_over_ssh.ssh.protocol.packetizer import BlockPacketizer

KEY, NONCE, MAC_KEY = bytes(range(16)), bytes(range(100, 116)), bytes(range(32))
# A message number for private use (RFC 4250, section 4.1.2).
KIND = 200
KINDS = ("plain", "gcm", "ctr-etm", "ctr")
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
    elif kind != "plain":
        mode = CTR(NONCE)
        cipher = Cipher(AES(KEY), mode)
        engine = cipher.encryptor() if direction == "outbound" else cipher.decryptor()
        setter(engine, 16, hashlib.sha256, 32, MAC_KEY, etm=kind == "ctr-etm")
    if compressed:
        zlib = ZlibCompressor() if direction == "outbound" else Decompressor()
        getattr(packets, f"set_{direction}_compressor")(zlib)


def encrypt(payloads: Iterable[bytes], kind: str, compressed: bool = False) -> list[bytes]:
    """The packets that Paramiko's own packetizer sends for the payloads, one each."""
    sent_bytes: Any = SentBytes()
    packets: Any = Packetizer(sent_bytes)
    set_ciphers(packets, "outbound", kind, compressed)
    for payload in payloads:
        packets.send_message(paramiko.Message(bytes([KIND]) + payload))
    sent: list[bytes] = sent_bytes.sent
    return sent


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


@pytest.mark.parametrize("kind", ["plain", "gcm", "ctr-etm"])
@pytest.mark.parametrize("size", [0, 1, MIN_PACKET_BYTES - 1, MAX_PACKET_BYTES + 1, 2**31, 2**32 - 1])
def test_impossible_length(kind: str, size: int) -> None:
    """An impossible length is refused at once: nobody waits for 4 GB."""
    got, end = collect(decrypt([size.to_bytes(4, "big")], kind))
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


@pytest.mark.parametrize("limit", ["time", "bytes"])
@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_new_keys(monkeypatch: pytest.MonkeyPatch, direction: str, limit: str) -> None:
    """New keys are due after an hour or 4 GiB in one direction, not before; then the count begins again."""
    now = 1000.0
    monkeypatch.setattr(packetizer, "time", SimpleNamespace(monotonic=lambda: now))
    packets: Any = BlockPacketizer(SentBytes())
    packets.packet_handler = lambda number, payload: True

    def begin() -> Callable[[], None]:
        """With new keys, what sends or receives the next packet."""
        for each in ("inbound", "outbound"):
            set_ciphers(packets, each, "ctr")
        packets.reset_seqno_in()
        packets.reset_seqno_out()
        if direction == "outbound":
            return lambda: packets.send_message(paramiko.Message(bytes([KIND])))
        wire = iter(encrypt([b""] * 5, "ctr"))
        return lambda: packets.receive_data(next(wire))

    counter = "_sent_bytes" if direction == "outbound" else "received_bytes"
    for _ in range(2):
        handle_one = begin()
        handle_one()
        size = getattr(packets, counter)
        if limit == "time":
            now += 3599
        else:
            setattr(packets, counter, 2**32 - 2 * size)
        handle_one()
        assert not packets.need_rekey()
        now += 1
        handle_one()
        assert packets.need_rekey()
    begin()()
    assert not packets.need_rekey()
