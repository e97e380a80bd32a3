"""The packets of a transport inside another one."""

import threading
from collections.abc import Callable
from typing import Any

import paramiko

from notebooks_over_ssh.ssh.protocol.packetizer import BlockPacketizer

# Found, and the transport's own thread is at work on it: until it asks for more, all else waits.
BUSY = (0, paramiko.Message())


class NestedPacketizer(BlockPacketizer):
    """The packets of a transport inside another one: the thread of that one brings them, and takes what it can at once.

    What cannot be taken at once waits for this transport's own thread, and the peer is granted room for it only then. So no
    more than two windows of the carrier ever wait, however long the thread is at work: a person may be asked for a code.
    """

    def __init__(self, jump_channel: Any) -> None:
        super().__init__(jump_channel)
        self._jump_channel = jump_channel
        self._condition = threading.Condition()
        self._buffered = bytearray()
        # Until the transport reads packets, nothing is taken for one.
        self._pending = BUSY
        self._failure: Exception | None = None
        jump_channel.set_receiver(self.feed, self.feed_eof)

    def feed(self, block: memoryview) -> None:
        """Take what has arrived, in the thread that received it."""
        with self._condition:
            if self._pending is not None or self._failure is not None:
                if self._failure is None:
                    self._buffered += block
                self._condition.notify()
                return
            try:
                self._process_block(block)
            except Exception as error:  # noqa: BLE001 # it ends this transport, not the one whose thread this is
                self._failure = error
            if self._pending is not None or self._failure is not None:
                self._condition.notify()
        self._jump_channel.consumed(len(block))

    def feed_eof(self) -> None:
        """Nothing will arrive any more."""
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
                if self._failure is None or isinstance(
                    self._failure, EOFError
                ):  # what came before the end counts
                    self._process_block(b"")
                    if self._pending is None:
                        consumed = len(self._buffered)
                        self._process_block(self._take_buffered())
        if consumed:
            self._jump_channel.credit(consumed)
        while True:
            # They send, and the thread that brings packets must never wait for that.
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
