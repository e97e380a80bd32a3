"""Programs, run by the tests themselves, or by a user with their own home folder with or without a terminal."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from notebooks_over_ssh.ssh.mux.client import MuxClient
from notebooks_over_ssh.ssh.mux.messages import MuxError
from tests.kit.leaks import is_alive
from tests.kit.wait import TIMEOUT_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
BIN_DIR = Path(sys.executable).parent
# For a command with a timeout, over one that only prints its version.
MAX_STARTS = 20
# No machine starts such a program faster, so what takes no longer needs no measurement.
MIN_START_S = 0.1
Result = subprocess.CompletedProcess[str]

# Makes the terminal the program's controlling terminal, as a shell does: prompts use /dev/tty.
_TERMINAL_LAUNCHER = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def run(
    *command: str | Path, stdin: str = "", check: bool = True, timeout: float = TIMEOUT_S, **options: Any
) -> Result:
    """Run a program without a terminal, and wait for it; if `check`, assert that it exits with 0."""
    result = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False, **options
    )
    return assert_success(result) if check else result


@dataclass(frozen=True)
class User:
    """A user with a home folder and a checkout."""

    home: Path
    temporary: Path
    folder: Path = field(default=ROOT, kw_only=True)
    """Where they run the programs."""
    programs: Path = field(default=BIN_DIR, kw_only=True)
    """Where the programs are."""

    @property
    def sessions(self) -> Path:
        """The folder of the session records."""
        return self.home / ".local/state/notebooks-over-ssh/sessions"

    @property
    def sandbox(self) -> Path:
        """The folder of the sandbox."""
        return self.home / ".local/share/notebooks-over-ssh/sandbox"

    @property
    def remote_home(self) -> Path:
        """The home folder that the hosts of the sandbox share."""
        return self.sandbox / "home"

    def remote_state(self, host: str) -> Path:
        """The folder of a host's record of its server."""
        return self.remote_home / ".local/state/notebooks-over-ssh" / host

    @property
    def jupyter_config(self) -> Path:
        """Jupyter's configuration on the hosts."""
        return self.remote_home / ".jupyter/jupyter_server_config.json"

    def environment(self, **extra: str) -> dict[str, str]:
        """The environment of the programs: no agent, no display, no setting but `extra`."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.temporary),
            **extra,
        }

    def run(self, program: str, *arguments: str, stdin: str = "", **variables: str) -> Result:
        """Run `fab` or `invoke` without a terminal, and wait for it."""
        return self.execute([str(self.programs / program), *arguments], stdin, **variables)

    def execute(self, command: list[str], stdin: str = "", **variables: str) -> Result:
        """Run any program as this user, without a terminal, and wait for it."""
        return run(*command, cwd=self.folder, env=self.environment(**variables), stdin=stdin, check=False)

    def fab(self, *arguments: str, stdin: str = "", **variables: str) -> Result:
        """Run `fab`."""
        return self.run("fab", *arguments, stdin=stdin, **variables)

    def invoke(self, *arguments: str, stdin: str = "", **variables: str) -> Result:
        """Run `invoke`."""
        return self.run("invoke", *arguments, stdin=stdin, **variables)

    @contextlib.contextmanager
    def in_time(self, timeout_s: float) -> Iterator[None]:
        """Assert that the body takes `timeout_s`, and no more besides than starting a program a few times does now."""
        body_started_at = time.monotonic()
        yield
        ended_at = time.monotonic()
        took_s = ended_at - body_started_at
        if took_s < timeout_s + MAX_STARTS * MIN_START_S:
            return
        assert_success(self.fab("--version"))
        limit_s = timeout_s + MAX_STARTS * (time.monotonic() - ended_at)
        assert took_s < limit_s, f"{took_s:.1f} s, not less than {limit_s:.1f} s"

    @contextlib.contextmanager
    def running(self, program: str, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """Run a program in the background, in its own process group; it gets a SIGINT in the end."""
        process = subprocess.Popen(
            [BIN_DIR / program, *arguments],
            cwd=ROOT,
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            interrupt(process)
            with contextlib.suppress(ValueError):  # the body has read and closed it
                process.communicate(timeout=TIMEOUT_S)

    @contextlib.contextmanager
    def at_terminal(self, program: str, *arguments: str) -> Iterator["Terminal"]:
        """Run a program at its own terminal; it is killed if it still runs in the end."""
        master_fd, slave_fd = pty.openpty()
        fcntl.ioctl(slave_fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
        process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _TERMINAL_LAUNCHER, self.programs / program, *arguments],
            cwd=self.folder,
            env=self.environment(TERM="xterm"),
            stdin=slave_fd,
            stdout=slave_fd,
            stderr=slave_fd,
            start_new_session=True,
        )
        os.close(slave_fd)
        terminal = Terminal(master_fd, process)
        try:
            yield terminal
        finally:
            process.kill()
            process.wait()
            os.close(master_fd)

    @property
    def login_sockets(self) -> list[Path]:
        """The sockets at which processes offer the logins that they hold."""
        return sorted((self.home / ".local/state/notebooks-over-ssh/logins").glob("*.login"))

    def end_logins(self) -> None:
        """End the logins that outlive their tunnels, with their processes; those of open tunnels stay."""
        for path in self.login_sockets:
            with contextlib.suppress(MuxError):
                client = MuxClient(path)
                client.terminate()
                client.close()

    def stop_all_sessions(self) -> None:
        """Stop what a failed test has left, and end the logins that are kept."""
        if self.sessions.exists() and list(self.sessions.iterdir()):
            assert_success(self.fab("stop", "--all", "--force"))
        self.end_logins()

    def status(self) -> list[dict[str, Any]]:
        """The sessions in the output of `status --json`."""
        return [entry for entry in self.status_entries() if entry["server"]]

    def status_entries(self) -> list[dict[str, Any]]:
        """The output of `status --json`: the sessions, then the logins without one."""
        result = assert_success(self.invoke("status", "--json"))
        entries: list[dict[str, Any]] = json.loads(result.stdout)
        return entries

    def only_session(self) -> dict[str, Any]:
        """The only session in the output of `status --json`."""
        (session,) = self.status()
        return session

    def records(self) -> list[dict[str, Any]]:
        """The records of all sessions."""
        return [json.loads(path.read_text()) for path in self.sessions.glob("*.session.json")]

    def only_record(self) -> dict[str, Any]:
        """The record of the only session: what `only_session` shows of it, without starting a program."""
        (record,) = self.records()
        return record

    def record(self, host: str) -> dict[str, Any]:
        """The record of the session on a host."""
        (record,) = (record for record in self.records() if record["host"] == host)
        return record

    def certificate_pem(self, host: str) -> str:
        """The certificate in the record of the session on a host."""
        pem: str = self.record(host)["certificate_pem"]
        return pem

    def files(self) -> list[str]:
        """All files and symlinks below the home folder."""
        return sorted(
            str(path.relative_to(self.home))
            for path in self.home.rglob("*")
            if path.is_symlink() or not path.is_dir()
        )


class Terminal:
    """The master side of a program's terminal."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self._descriptor = descriptor
        self._process = process
        self.output = ""
        self._position = 0

    def expect(self, pattern: str) -> re.Match[str]:
        """Wait for output that matches the pattern, after the last match."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            match = re.compile(pattern).search(self.output, self._position)
            if match:
                self._position = match.end()
                return match
            if not self._read_more(deadline):
                raise AssertionError(f"no output matched {pattern!r}:\n{self.output}")

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._descriptor, line.encode() + b"\n")

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.write(self._descriptor, b"\x03")

    def end_input(self) -> None:
        """Press Ctrl-D, at the beginning of a line."""
        os.write(self._descriptor, b"\x04")

    def end(self) -> int:
        """Wait for the program to exit; returns its exit code."""
        deadline = time.monotonic() + TIMEOUT_S
        while self._read_more(deadline):
            pass
        return self._process.wait(timeout=TIMEOUT_S)

    def _read_more(self, deadline: float) -> bool:
        """Read more output; False when there is none."""
        ready, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))
        try:
            chunk = os.read(self._descriptor, 65536) if ready else b""
        except OSError:  # EIO: the other side is closed
            chunk = b""
        self.output += chunk.decode("utf-8", "replace")
        return bool(chunk)


def assert_success(result: Result) -> Result:
    """Assert that the program exited with 0; returns the result."""
    assert result.returncode == 0, (
        f"{result.args} exited with {result.returncode}\n{result.stdout}{result.stderr}"
    )
    return result


def assert_error(result: Result, code: int, *expected_texts: str) -> Result:
    """Assert this exit code, an error with these texts, a hint and no traceback; returns the result."""
    report = f"{result.args} exited with {result.returncode}\n{result.stdout}{result.stderr}"
    assert result.returncode == code, report
    lines = result.stderr.splitlines()
    assert any(line.startswith("error: ") for line in lines), report
    assert any(re.match(r"hint: \S", line) for line in lines), report
    assert "Traceback" not in result.stdout + result.stderr, report
    assert "internal error" not in result.stderr, report
    missing = [text for text in expected_texts if text not in result.stderr]
    assert not missing, f"missing: {missing}\n{report}"
    return result


def interrupt(process: subprocess.Popen[str]) -> None:
    """Send SIGINT to the program's process group, as Ctrl-C does, if it still runs."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)


def kill(pid: int) -> None:
    """Kill a process, as the kernel does when it runs out of memory."""
    process = psutil.Process(pid)
    process.kill()
    wait_until(lambda: not is_alive(process), f"process {pid} is gone")


def port_in(result: Result) -> int:
    """The local port in the URL that a command printed."""
    match = re.search(r"ready +https://localhost:(\d+)/", result.stdout)
    assert match, result.stdout + result.stderr
    return int(match[1])
