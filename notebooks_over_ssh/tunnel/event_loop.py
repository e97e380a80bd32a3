"""One thread that waits for many local sockets, and does for others what only it may do."""

import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE


class EventLoopThread:
    """Calls what was given for a socket when it can be read or written. Handlers never wait, and take one block a turn."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        # A selector that is asked for a socket it does not know describes it, with two system calls.
        self._watched: dict[socket.socket, int] = {}
        self._callbacks: deque[Callable[[], None]] = deque()
        self._is_asleep = False
        self._wakeup_receiver, self._wakeup_sender = socket.socketpair()
        self._wakeup_receiver.setblocking(False)
        self._wakeup_sender.setblocking(False)
        self._selector.register(self._wakeup_receiver, READ, self._drain_wakeups)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="event loop", daemon=True)
        self._thread.start()

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
        """Have the thread do something soon; from any thread."""
        self._callbacks.append(callback)
        if self._is_asleep:
            # One ring wakes it for all that is asked for until then.
            self._is_asleep = False
            self._wakeup()

    def set_interest(self, sock: socket.socket, events: int, handler: Callable[[int], None]) -> None:
        """Call the handler with what can be done (READ, WRITE) of these events; 0 for never. Only from the thread."""
        registered = self._watched.get(sock, 0)
        if events == registered:
            return
        if not registered:
            self._selector.register(sock, events, handler)
        elif not events:
            self._selector.unregister(sock)
        else:
            self._selector.modify(sock, events, handler)
        if events:
            self._watched[sock] = events
        else:
            del self._watched[sock]

    def close(self) -> None:
        """Do what was asked for so far, and end the thread."""
        self._closed = True
        self._wakeup()
        self._thread.join()
        self._selector.close()
        self._wakeup_receiver.close()
        self._wakeup_sender.close()

    def _run(self) -> None:
        while True:
            while self._callbacks:
                self._callbacks.popleft()()
            if self._closed:
                return
            # In this order, so that whoever asks in between either rings or is seen here.
            self._is_asleep = True
            ready = self._selector.select(0 if self._callbacks or self._closed else None)
            self._is_asleep = False
            for key, events in ready:
                key.data(events)

    def _wakeup(self) -> None:
        try:
            os.write(self._wakeup_sender.fileno(), b"\0")
        except BlockingIOError:
            pass  # it rings already
        except OSError:
            pass  # it is closed, and what was asked for is of no use any more

    def _drain_wakeups(self, _: int) -> None:
        self._wakeup_receiver.recv(4096)
