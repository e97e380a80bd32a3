"""The packetizer of a transport that runs inside a jump channel."""

import threading
from collections.abc import Callable
from typing import Any

import paramiko

from notebooks_over_ssh.ssh.protocol.packetizer import BlockPacketizer

# Stands for the packet that the transport's thread is handling; packets behind it wait until that thread reads again.
BUSY = (0, paramiko.Message())


class NestedPacketizer(BlockPacketizer):
    """Packets are parsed in the thread of the outer transport, which delivers channel data without a change of threads.

    Any other packet waits for this transport's own thread, and the outer window is adjusted only when that thread takes
    it. So at most two windows of the jump channel are buffered, however long the thread is busy, for example with a
    prompt.
    """

    def __init__(self, jump_channel: Any) -> None:
        super().__init__(jump_channel)
        self._jump_channel = jump_channel
        self._condition = threading.Condition()
        self._buffered = bytearray()
        # Until the first `read_message`, the bytes are lines of text: no packet is parsed.
        self._pending = BUSY
        self._failure: Exception | None = None
        jump_channel.set_receiver(self.feed, self.feed_eof)

    def feed(self, block: memoryview) -> None:
        """Parse a block that arrived; called in the thread of the outer transport."""
        with self._condition:
            if self._pending is not None or self._failure is not None:
                if self._failure is None:
                    self._buffered += block
                self._condition.notify()
                return
            try:
                self.receive_data(block)
            except Exception as error:  # noqa: BLE001 # must end this transport only, not the outer one
                self._failure = error
            if self._pending is not None or self._failure is not None:
                self._condition.notify()
        self._jump_channel.consumed(len(block))

    def feed_eof(self) -> None:
        """The jump channel is closed: nothing more arrives."""
        with self._condition:
            self._failure = self._failure or EOFError()
            self._condition.notify()

    def call_soon(self, callback: Callable[[], None]) -> None:
        with self._condition:
            super().call_soon(callback)
            self._condition.notify()

    def close(self) -> None:
        super().close()
        self.feed_eof()

    def read_message(self) -> tuple[int, paramiko.Message]:
        consumed = 0
        with self._condition:
            if self._pending is BUSY:
                self._pending = None
                # Packets that arrived before the end are still handled.
                if self._failure is None or isinstance(self._failure, EOFError):
                    self.receive_data(b"")
                    if self._pending is None:
                        consumed = len(self._buffered)
                        self.receive_data(self._take_buffered())
        if consumed:
            self._jump_channel.credit(consumed)
        while True:
            # Outside the lock: callbacks send and may block, and `feed` must never wait for that.
            self._run_callbacks()
            with self._condition:
                if self._pending is not None:
                    packet, self._pending = self._pending, BUSY
                    return packet
                self._check_for_rekey()
                self._wait()

    def _next_line(self) -> bytes | None:
        with self._condition:
            line = super()._next_line()
            if line is not None or not self._buffered:
                return line
            consumed = len(self._buffered)
            self._unread = bytes(self._unread) + self._take_buffered()
            line = super()._next_line()
        self._jump_channel.credit(consumed)
        return line

    def _wait_for_more(self) -> None:
        with self._condition:
            if not self._buffered:
                self._wait()

    def _take_buffered(self) -> bytes:
        buffered, self._buffered = bytes(self._buffered), bytearray()
        return buffered

    def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        if not (self._callbacks and self.can_send()) and not self._rekey_due():
            self._condition.wait(self._poll_interval_s)
        self._check_timeout()

    def _trigger_rekey(self) -> None:
        super()._trigger_rekey()
        with self._condition:
            self._condition.notify()
