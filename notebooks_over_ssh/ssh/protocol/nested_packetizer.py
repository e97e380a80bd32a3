"""The packets of a transport inside another one."""

import threading
from collections.abc import Callable
from typing import Any

import paramiko

from notebooks_over_ssh.ssh.protocol.packetizer import Packets

# Found, and the transport's own thread is at work on it: until it asks for more, all else waits.
AT_WORK = (0, paramiko.Message())


class CarriedPackets(Packets):
    """The packets of a transport inside another one: the thread of that one brings them, and takes what it can at once.

    What cannot be taken at once waits for this transport's own thread, and the peer is granted room for it only then. So no
    more than two windows of the carrier ever wait, however long the thread is at work: a person may be asked for a code.
    """

    def __init__(self, carrier: Any) -> None:
        super().__init__(carrier)
        self._carrier = carrier
        self._changed = threading.Condition()
        self._waiting = bytearray()
        # Until the transport reads packets, nothing is taken for one.
        self._found = AT_WORK
        self._failure: Exception | None = None
        carrier.carry(self.bring, self.end)

    def bring(self, block: memoryview) -> None:
        """Take what has arrived, in the thread that received it."""
        with self._changed:
            if self._found is not None or self._failure is not None:
                if self._failure is None:
                    self._waiting += block
                self._changed.notify()
                return
            try:
                self._take(block)
            except Exception as error:  # noqa: BLE001 # it ends this transport, not the one whose thread this is
                self._failure = error
            if self._found is not None or self._failure is not None:
                self._changed.notify()
        self._carrier.taken(len(block))

    def end(self) -> None:
        """Nothing will arrive any more."""
        with self._changed:
            self._failure = self._failure or EOFError()
            self._changed.notify()

    def later(self, errand: Callable[[], None]) -> None:
        with self._changed:
            super().later(errand)
            self._changed.notify()

    def close(self) -> None:
        super().close()
        self.end()

    def read_message(self) -> tuple[int, paramiko.Message]:
        granted = 0
        with self._changed:
            if self._found is AT_WORK:
                self._found = None
                if self._failure is None or isinstance(
                    self._failure, EOFError
                ):  # what came before the end counts
                    self._take(b"")
                    if self._found is None:
                        granted = len(self._waiting)
                        self._take(self._next_waiting())
        if granted:
            self._carrier.credit(granted)
        while True:
            # They send, and the thread that brings packets must never wait for that.
            self._run_errands()
            with self._changed:
                if self._found is not None:
                    found, self._found = self._found, AT_WORK
                    return found
                self._check_for_rekey()
                self._wait()

    def _line(self) -> bytes | None:
        with self._changed:
            line = super()._line()
            if line is not None or not self._waiting:
                return line
            granted = len(self._waiting)
            self._unread = bytes(self._unread) + self._next_waiting()
            line = super()._line()
        self._carrier.credit(granted)
        return line

    def _wait_for_more(self) -> None:
        with self._changed:
            if not self._waiting:
                self._wait()

    def _next_waiting(self) -> bytes:
        waiting, self._waiting = bytes(self._waiting), bytearray()
        return waiting

    def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        if not (self._errands and self.may_send()) and not self._is_time_for_new_keys():
            self._changed.wait(self._look_s)
        self._check_patience()

    def _trigger_rekey(self) -> None:
        super()._trigger_rekey()
        with self._changed:
            self._changed.notify()
