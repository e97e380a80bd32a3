"""The processes behind the channels: one place that waits for them, and carriers for what they read and write."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable

_READ_BYTES = 65536
_HIGH_WATER_BYTES = 262144


class Reaper:
    """Waits for processes with SIGCHLD, so that none stays a zombie and no thread is needed."""

    def __init__(self) -> None:
        self._processes: dict[subprocess.Popen[bytes], Callable[[int], None]] = {}

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to hear of ended processes. The loop must be that of the main thread."""
        loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def watch(self, process: subprocess.Popen[bytes], on_exit: Callable[[int], None]) -> None:
        """Call `on_exit` once, from the loop, with the return code (negative: the signal's number)."""
        self._processes[process] = on_exit

    def _reap(self) -> None:
        for process, on_exit in list(self._processes.items()):
            code = process.poll()
            if code is not None:
                del self._processes[process]
                on_exit(code)


class PipeReader:
    """Carries what a process writes to `on_data`, until its end or until closed. Owns the descriptor."""

    def __init__(
        self, descriptor: int, on_data: Callable[[bytes], None], on_exit: Callable[[], None]
    ) -> None:
        self._descriptor: int | None = descriptor
        self._on_data = on_data
        self._on_eof = on_exit
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    @property
    def is_open(self) -> bool:
        """False after the end, and after close."""
        return self._descriptor is not None

    def pause(self) -> None:
        """Read no more for now; the process waits when its pipe is full."""
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)

    def resume(self) -> None:
        """Read on."""
        if self._descriptor is not None:
            self._loop.add_reader(self._descriptor, self._read)

    def close(self) -> None:
        """Let go of the pipe. `on_exit` is not called."""
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _read(self) -> None:
        if self._descriptor is None:
            return
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            # EIO is how Linux says that nobody has the terminal open any more (pty(7) calls it a hangup).
            data = b""
        if data:
            self._on_data(data)
        else:
            self.close()
            self._on_eof()


class PipeWriter:
    """Carries bytes to what a process reads, as fast as it reads. Owns the descriptor."""

    def __init__(self, descriptor: int, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._descriptor: int | None = descriptor
        self._pause = pause
        self._resume = resume
        self._pending = bytearray()
        self._paused = False
        self._eof_pending = False
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)

    def write(self, data: bytes) -> None:
        """Take bytes; `pause` is called when too many wait, `resume` when few do. Dropped once nobody reads."""
        if self._descriptor is None:
            return
        self._pending += data
        if len(self._pending) == len(data):
            self._flush()
        if len(self._pending) > _HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            self._pause()

    def end(self) -> None:
        """The end of the input, after all that waits has been written."""
        self._eof_pending = True
        if not self._pending:
            self.close()

    def close(self) -> None:
        """Let go of the pipe, and of what still waits."""
        if self._descriptor is not None:
            self._loop.remove_writer(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
            self._pending.clear()
            self._resume_writing()

    def _flush(self) -> None:
        if self._descriptor is None:
            return
        try:
            del self._pending[: os.write(self._descriptor, self._pending)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.close()
            return
        if self._pending:
            self._loop.add_writer(self._descriptor, self._flush)
            return
        self._loop.remove_writer(self._descriptor)
        if self._eof_pending:
            self.close()
        else:
            self._resume_writing()

    def _resume_writing(self) -> None:
        if self._paused:
            self._paused = False
            self._resume()
