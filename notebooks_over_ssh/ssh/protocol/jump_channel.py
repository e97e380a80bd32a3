"""Channels through a gateway to the next hop, which carry that hop's whole transport (ProxyJump)."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import paramiko

from notebooks_over_ssh.ssh.protocol.channel import DIRECT_TCPIP, Address, Channel, direct_tcpip_payload

_log = logging.getLogger(__name__)


class CarrierChannel(Channel):
    """Acts as the socket of the inner transport; received data goes straight to its packetizer."""

    # Shared by all channels of the inner transport.
    INITIAL_WINDOW = 4 * 1024 * 1024

    def __init__(self, transport: Any, channel_type: bytes, fields: bytes = b"") -> None:
        super().__init__(transport, channel_type, fields)
        self._condition = threading.Condition()
        self._open_error: Exception | None = None
        self._is_open = False
        self._closed = False
        self._buffered = bytearray()
        self._feed: Callable[[memoryview], None] | None = None
        self._feed_eof: Callable[[], None] = lambda: None

    def connect(self, timeout_s: float) -> None:
        """Open the channel. Raises TimeoutError, ChannelException, SSHException."""
        self.open()
        with self._condition:
            if not self._condition.wait_for(lambda: self._is_open or self._closed, timeout_s):
                raise TimeoutError
        if self._open_error is not None:
            raise self._open_error

    def set_receiver(self, feed: Callable[[memoryview], None], feed_eof: Callable[[], None]) -> None:
        """Pass received data to `feed`, including what is buffered; `feed_eof` is called at the end.

        The receiver calls `consumed` or `credit` when it has processed the data, which is outside the window until
        then.
        """
        with self._condition:
            self._feed, self._feed_eof = feed, feed_eof
            buffered, self._buffered = bytes(self._buffered), bytearray()
            if buffered:
                feed(memoryview(buffered))
            if self._closed:
                feed_eof()

    # ---- socket interface ----

    def send(self, data: bytes) -> int:
        """Wait for the window, then send some of the data; returns how much. Raises OSError once it is closed."""
        if self.send_window <= 0:
            with self._condition:
                self._condition.wait_for(lambda: self.send_window > 0 or self._closed)
        if self._closed:
            raise OSError("the channel through the gateway is closed")
        chunk = data[: min(self.send_window, self.max_packet_size)]
        self.send_data(chunk)
        return len(chunk)

    def settimeout(self, timeout_s: float | None) -> None:
        """Does nothing: `send` waits until the channel is closed."""

    def shutdown(self, how: int) -> None:
        """Does nothing: `close` follows."""

    def close(self) -> None:
        """Close the channel. Neither blocks nor raises, even if the connection to the gateway is lost."""
        with self._condition:
            was_closed, self._closed = self._closed, True
            self._condition.notify_all()
        if not was_closed and self._is_open and self.transport.is_active():
            self.call_soon(self.send_close)

    # ---- events ----

    def channel_opened(self) -> None:
        with self._condition:
            self._is_open = True
            self._condition.notify_all()

    def open_failed(self, error: paramiko.ChannelException) -> None:
        self._open_error = error
        self._mark_closed()

    def data_received(self, data: memoryview) -> None:
        with self._condition:
            if self._feed is None:
                self._buffered += data
            feed = self._feed
        if feed is not None:
            feed(data)

    def resume_writing(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def eof_received(self) -> None:
        self._mark_closed()

    def channel_closed(self) -> None:
        self._mark_closed()

    def connection_lost(self) -> None:
        self._open_error = self._open_error or paramiko.SSHException(
            "the connection to the gateway has ended"
        )
        self._mark_closed()

    def _mark_closed(self) -> None:
        with self._condition:
            self._closed = True
            feed_eof = self._feed_eof
            self._condition.notify_all()
        feed_eof()


class JumpChannel(CarrierChannel):
    """Carries the connection to a port that the gateway reaches."""

    def __init__(self, transport: Any, target: Address) -> None:
        super().__init__(transport, DIRECT_TCPIP, direct_tcpip_payload(target, ("127.0.0.1", 0)))
        _log.debug("connecting to %s port %d through the gateway", *target)
