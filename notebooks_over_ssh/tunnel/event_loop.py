"""One thread that waits for many local sockets, and does for others what only it may do."""

import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE


class Pump:
    """Calls what was given for a socket when it can be read or written. Handlers never wait, and take one block a turn."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        # A selector that is asked for a socket it does not know describes it, with two system calls.
        self._watched: dict[socket.socket, int] = {}
        self._asked: deque[Callable[[], None]] = deque()
        self._is_asleep = False
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self._selector.register(self._bell, READ, self._hear)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="pump", daemon=True)
        self._thread.start()

    def do(self, what: Callable[[], None]) -> None:
        """Have the thread do something soon; from any thread."""
        self._asked.append(what)
        if self._is_asleep:
            # One ring wakes it for all that is asked for until then.
            self._is_asleep = False
            self._ring()

    def watch(self, watched: socket.socket, events: int, handler: Callable[[int], None]) -> None:
        """Call the handler with what can be done (READ, WRITE) of these events; 0 for never. Only from the thread."""
        known = self._watched.get(watched, 0)
        if events == known:
            return
        if not known:
            self._selector.register(watched, events, handler)
        elif not events:
            self._selector.unregister(watched)
        else:
            self._selector.modify(watched, events, handler)
        if events:
            self._watched[watched] = events
        else:
            del self._watched[watched]

    def close(self) -> None:
        """Do what was asked for so far, and end the thread."""
        self._closed = True
        self._ring()
        self._thread.join()
        self._selector.close()
        self._bell.close()
        self._ringer.close()

    def _run(self) -> None:
        while True:
            while self._asked:
                self._asked.popleft()()
            if self._closed:
                return
            # In this order, so that whoever asks in between either rings or is seen here.
            self._is_asleep = True
            ready = self._selector.select(0 if self._asked or self._closed else None)
            self._is_asleep = False
            for key, events in ready:
                key.data(events)

    def _ring(self) -> None:
        try:
            os.write(self._ringer.fileno(), b"\0")
        except BlockingIOError:
            pass  # it rings already
        except OSError:
            pass  # it is closed, and what was asked for is of no use any more

    def _hear(self, _: int) -> None:
        self._bell.recv(4096)
