"""Child processes for asyncio: reaping them, and reading and writing their pipes."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable

_READ_BYTES = 65536
_HIGH_WATER_BYTES = 262144


class Reaper:
    """Reaps child processes on SIGCHLD, without a thread."""

    def __init__(self) -> None:
        self._processes: dict[subprocess.Popen[bytes], Callable[[int], None]] = {}

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Install the SIGCHLD handler. The loop must run in the main thread (asyncio.loop.add_signal_handler)."""
        loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def watch(self, process: subprocess.Popen[bytes], on_exit: Callable[[int], None]) -> None:
        """Call `on_exit` once, from the loop, with the return code (negative: a signal number, as in subprocess)."""
        self._processes[process] = on_exit

    def _reap(self) -> None:
        for process, on_exit in list(self._processes.items()):
            code = process.poll()
            if code is not None:
                del self._processes[process]
                on_exit(code)


class PipeReader:
    """Passes the output of a process to `on_data`, then calls `on_eof`. Owns the descriptor."""

    def __init__(self, descriptor: int, on_data: Callable[[bytes], None], on_eof: Callable[[], None]) -> None:
        self._descriptor: int | None = descriptor
        self._on_data = on_data
        self._on_eof = on_eof
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    @property
    def is_open(self) -> bool:
        """False after EOF, and after `close`."""
        return self._descriptor is not None

    def pause(self) -> None:
        """Stop reading; the process blocks once its pipe is full."""
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)

    def resume(self) -> None:
        """Continue reading."""
        if self._descriptor is not None:
            self._loop.add_reader(self._descriptor, self._read)

    def close(self) -> None:
        """Close the descriptor, without a call of `on_eof`."""
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
            # On Linux, reading a terminal that no process has open any more fails with EIO.
            data = b""
        if data:
            self._on_data(data)
        else:
            self.close()
            self._on_eof()


class PipeWriter:
    """Writes to the input of a process, with flow control. Owns the descriptor."""

    def __init__(self, descriptor: int, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._descriptor: int | None = descriptor
        self._pause = pause
        self._resume = resume
        self._buffer = bytearray()
        self._paused = False
        self._eof_pending = False
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)

    def write(self, data: bytes) -> None:
        """Write or buffer data. Calls `pause` above _HIGH_WATER_BYTES, and `resume` when the buffer is empty.

        Data is discarded once the process has closed its end.
        """
        if self._descriptor is None:
            return
        self._buffer += data
        if len(self._buffer) == len(data):
            self._flush()
        if len(self._buffer) > _HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            self._pause()

    def write_eof(self) -> None:
        """Close the descriptor once the buffer is written."""
        self._eof_pending = True
        if not self._buffer:
            self.close()

    def close(self) -> None:
        """Close the descriptor, and discard the buffer."""
        if self._descriptor is not None:
            self._loop.remove_writer(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
            self._buffer.clear()
            self._resume_writing()

    def _flush(self) -> None:
        if self._descriptor is None:
            return
        try:
            del self._buffer[: os.write(self._descriptor, self._buffer)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.close()
            return
        if self._buffer:
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
