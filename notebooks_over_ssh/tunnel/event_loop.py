"""An event loop in a thread: waits for many local sockets, and runs callbacks from other threads."""

import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE


class EventLoopThread:
    """Calls a socket's handler when the socket is readable or writable. Handlers must not block."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        # Kept beside the selector, whose KeyError for an unknown socket costs two system calls for its text.
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
        """Run the callback in the event loop soon. Thread-safe."""
        self._callbacks.append(callback)
        if self._is_asleep:
            # One wake-up is enough for all callbacks that are added before the loop runs.
            self._is_asleep = False
            self._wakeup()

    def set_interest(self, sock: socket.socket, events: int, handler: Callable[[int], None]) -> None:
        """Call the handler with those of `events` (READ, WRITE) that are ready; 0 removes it. Not thread-safe."""
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
        """Run the callbacks added so far, and stop the thread."""
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
            # Set before the check: a thread that adds a callback in between either wakes the loop or is seen here.
            self._is_asleep = True
            ready = self._selector.select(0 if self._callbacks or self._closed else None)
            self._is_asleep = False
            for key, events in ready:
                key.data(events)

    def _wakeup(self) -> None:
        try:
            os.write(self._wakeup_sender.fileno(), b"\0")
        except BlockingIOError:
            pass  # a wake-up is already pending
        except OSError:
            pass  # the loop is closed; the callback has no effect any more

    def _drain_wakeups(self, _: int) -> None:
        self._wakeup_receiver.recv(4096)
