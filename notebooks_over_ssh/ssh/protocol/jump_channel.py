"""A stream that carries a whole transport: the way through a gateway to the next hop."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import paramiko

from notebooks_over_ssh.ssh.protocol.channel import DIRECT, Address, Stream, towards

_log = logging.getLogger(__name__)


class Carrier(Stream):
    """Looks like a socket to the transport that it carries; what arrives goes straight into that one's packets."""

    # All streams of the transport that it carries share it.
    FIRST_WINDOW = 4 * 1024 * 1024

    def __init__(self, transport: Any, target: Address) -> None:
        super().__init__(transport, DIRECT, towards(target, ("127.0.0.1", 0)))
        _log.debug("connecting to %s port %d through the gateway", *target)
        self._changed = threading.Condition()
        self._outcome: Exception | None = None
        self._is_open = False
        self._closed = False
        self._early = bytearray()
        self._bring: Callable[[memoryview], None] | None = None
        self._end: Callable[[], None] = lambda: None

    def connect(self, timeout_s: float) -> None:
        """Open it and wait. Raises TimeoutError, ChannelException, SSHException."""
        self.open()
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_open or self._closed, timeout_s):
                raise TimeoutError
        if self._outcome is not None:
            raise self._outcome

    def carry(self, bring: Callable[[memoryview], None], end: Callable[[], None]) -> None:
        """Give what arrives from now on, and has arrived, to `bring`; `end` is called when nothing will.

        What was brought is `taken`, or has its `credit`, when it is used up: until then it counts for the window.
        """
        with self._changed:
            self._bring, self._end = bring, end
            early, self._early = bytes(self._early), bytearray()
            if early:
                bring(memoryview(early))
            if self._closed:
                end()

    # ---- as a socket ----

    def send(self, data: bytes) -> int:
        """Send a part of the data, as soon as there is room. Raises OSError when it is closed."""
        if self.room <= 0:
            with self._changed:
                self._changed.wait_for(lambda: self.room > 0 or self._closed)
        if self._closed:
            raise OSError("the way through the gateway is closed")
        part = data[: min(self.room, self.largest)]
        self.send_data(part)
        return len(part)

    def settimeout(self, timeout_s: float | None) -> None:
        """Nothing: it waits until it is closed."""

    def shutdown(self, how: int) -> None:
        """Nothing: `close` does all."""

    def close(self) -> None:
        """Close the way; never waits, nor raises, as its gateway may be gone too."""
        with self._changed:
            was_closed, self._closed = self._closed, True
            self._changed.notify_all()
        if not was_closed and self._is_open and self.transport.is_active():
            self.later(self.send_close)

    # ---- what happens ----

    def opened(self) -> None:
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def refused(self, error: paramiko.ChannelException) -> None:
        self._outcome = error
        self._is_over()

    def received(self, data: memoryview) -> None:
        with self._changed:
            if self._bring is None:
                self._early += data
            bring = self._bring
        if bring is not None:
            bring(data)

    def may_send_more(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def ended(self) -> None:
        self._is_over()

    def closed(self) -> None:
        self._is_over()

    def lost(self) -> None:
        self._outcome = self._outcome or paramiko.SSHException("the connection to the gateway has ended")
        self._is_over()

    def _is_over(self) -> None:
        with self._changed:
            self._closed = True
            end = self._end
            self._changed.notify_all()
        end()
