"""Starts and ends the jobs of the queue, and keeps a file of them."""

import asyncio
import contextlib
import logging
import subprocess
import time

import msgspec
import psutil

from notebooks_over_ssh.sandbox.paths import SandboxPaths
from notebooks_over_ssh.sandbox.process_io import Reaper
from notebooks_over_ssh.sandbox.toy_slurm import job_processes
from notebooks_over_ssh.sandbox.toy_slurm.queue import Job, Queue, queue_file, read_queue
from notebooks_over_ssh.util.atomic_write import atomic_write
from notebooks_over_ssh.util.processes import is_alive

# Between SIGTERM and SIGKILL; KillWait of slurm.conf(5) is 30 s.
KILL_WAIT_S = 5.0
_END_INTERVAL_S = 0.2
_log = logging.getLogger(__name__)


class Runner:
    """The queue of a running sandbox, and the processes of its jobs."""

    def __init__(self, paths: SandboxPaths, reaper: Reaper) -> None:
        self._paths = paths
        self._reaper = reaper
        self._changed = asyncio.Event()
        self._saved = b""
        self._scripts: dict[int, subprocess.Popen[bytes]] = {}
        """The scripts of jobs that have not exited."""
        self._terminated: set[psutil.Process] = set()
        self.queue = self._load()

    def change(self) -> None:
        """Take note that the queue was changed."""
        self._changed.set()

    async def run(self) -> None:
        """Start and end jobs when they are due, for ever."""
        while True:
            self._changed.clear()
            now = time.time()
            self._advance(now)
            self._save()
            next_at = now + _END_INTERVAL_S if self.queue.ending() else self.queue.next_event_at(now)
            try:
                async with asyncio.timeout(None if next_at is None else max(0.0, next_at - time.time())):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _advance(self, now: float) -> None:
        for job in self.queue.signal_due(now):
            self._signal(job)
        for job in self.queue.end_due(now):
            moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now))
            job_processes.report(job, f"CANCELLED AT {moment} DUE TO TIME LIMIT")
        for job in self.queue.ending():
            self._end(job, now)
        for job in self.queue.start_due(now):
            self._start(job)
        for job in self.queue.jobs:
            if job.ended:
                job_processes.remove_script(self._paths, job)
        self.queue.forget_old(now)

    def _start(self, job: Job) -> None:
        try:
            process = job_processes.start(self._paths, job)
        except OSError as error:
            _log.warning("toy queue: job %d did not start: %s", job.id, error.strerror)
            self.queue.finish(job, "FAILED", time.time())
            return
        _log.info("toy queue: job %d runs on %s", job.id, job.node)
        self._scripts[job.id] = process
        self._reaper.watch(process, lambda status: self._script_exited(job, status))

    def _script_exited(self, job: Job, status: int) -> None:
        del self._scripts[job.id]
        self.queue.finish(job, "FAILED" if status else "COMPLETED", time.time())
        self.change()

    def _signal(self, job: Job) -> None:
        """Send the signal that the job asked for."""
        signal = job.request.signal
        assert signal
        if signal.to_script_only and job.id in self._scripts:
            self._scripts[job.id].send_signal(signal.number)
        elif not signal.to_script_only:
            for process in job_processes.find(self._paths, job.id):
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.number)

    def _end(self, job: Job, now: float) -> None:
        """Send the job's processes SIGTERM, or later SIGKILL; without any, the job has ended."""
        processes = job_processes.find(self._paths, job.id)
        for process in processes:
            with contextlib.suppress(psutil.Error):
                if now > job.ending_since + KILL_WAIT_S:
                    process.kill()
                elif process not in self._terminated:
                    # Once, because some programs skip their clean-up at the second signal.
                    self._terminated.add(process)
                    process.terminate()
        if not processes and job.id not in self._scripts:
            job.ended = now
            self._terminated = {process for process in self._terminated if is_alive(process)}
            _log.info("toy queue: job %d ended: %s", job.id, job.state)

    def _load(self) -> Queue:
        """The queue of the last daemon. Its running jobs are lost, as if their nodes had crashed with it."""
        if not queue_file(self._paths).exists():
            return Queue()
        for process in job_processes.find(self._paths, None):
            with contextlib.suppress(psutil.Error):
                process.kill()
        queue = read_queue(self._paths)
        for job in queue.jobs:
            if job.started:
                queue.finish(job, "NODE_FAIL", time.time())
        return queue

    def _save(self) -> None:
        content = msgspec.json.encode(self.queue)
        if content != self._saved:
            try:
                atomic_write(queue_file(self._paths), content)
            except OSError as error:
                # The jobs go on. `stop` may be deleting the folder.
                _log.warning("toy queue: the file of its jobs was not written: %s", error.strerror)
            self._saved = content
