"""A session on a compute host: a command, a shell or SFTP, run as by sshd(8)."""

import os
import signal
import subprocess
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, cast

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.constants import EXTENDED_DATA_STDERR
from asyncssh.stream import SSHServerStreamSession

from notebooks_over_ssh.sandbox.process_io import PipeReader, PipeWriter
from notebooks_over_ssh.sandbox.pseudo_terminal import PseudoTerminal, make_controlling

if TYPE_CHECKING:
    from notebooks_over_ssh.sandbox.host import Host

_SFTP_VERSION = 3
_EXIT_CANNOT_EXECUTE = 126
_DEFAULT_UMASK = 0o022
# RFC 4254, section 6.10: the standard names. Any other takes the form name@domain.
_STANDARD_SIGNALS = frozenset(
    ("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2")
)


class HomeSFTPServer(asyncssh.SFTPServer):
    """An SFTP server in which relative paths start in the home folder."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], home: str) -> None:
        super().__init__(channel)
        self._home = os.fsencode(home)

    def map_path(self, path: bytes) -> bytes:
        """Map the client's path to one on this machine."""
        return os.path.join(self._home, path)


class HostSession(SSHServerStreamSession[bytes]):
    """Runs one command or shell, with or without a terminal, or serves SFTP.

    asyncssh's stream session implements SFTP. The rest is replaced, because the channel must close as with
    sshd: when the process has exited and its output is at EOF.
    """

    def __init__(self, host: "Host") -> None:
        super().__init__(
            None,
            lambda channel: HomeSFTPServer(cast("asyncssh.SSHServerChannel[bytes]", channel), host.home),
            _SFTP_VERSION,
        )
        self._host = host
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._command: str | None = None
        self._serves_sftp = False
        self._terminal: PseudoTerminal | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stdin_writer: PipeWriter | None = None
        self._readers: tuple[PipeReader, ...] = ()

    def connection_made(self, chan: SSHChannel[bytes]) -> None:
        super().connection_made(chan)
        self._channel = cast("asyncssh.SSHServerChannel[bytes]", chan)

    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Mapping[int, int]
    ) -> bool:
        try:
            self._terminal = PseudoTerminal(term_type, term_size[0], term_size[1], term_modes)
        except OSError:
            return False
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._terminal is not None and self._terminal.master_fd >= 0:
            self._terminal.resize(width, height)

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return "\0" not in command

    def subsystem_requested(self, subsystem: str) -> bool:
        self._serves_sftp = subsystem == "sftp"
        return self._serves_sftp

    def session_started(self) -> None:
        if self._serves_sftp:
            super().session_started()
            return
        try:
            self._run()
        except OSError as error:
            assert self._channel is not None
            self._channel.write_stderr(f"{self._host.shell}: {error.strerror}\n".encode())
            self._channel.exit(_EXIT_CANNOT_EXECUTE)
            self._hang_up()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._serves_sftp:
            super().data_received(data, datatype)
        elif self._stdin_writer is not None:
            self._stdin_writer.write(data)

    def eof_received(self) -> bool:
        if self._serves_sftp:
            return bool(super().eof_received())
        # A terminal's input has no EOF; the user types Ctrl-D instead.
        if self._stdin_writer is not None and self._terminal is None:
            self._stdin_writer.write_eof()
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        for reader in self._readers:
            reader.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        for reader in self._readers:
            reader.resume()

    def signal_received(self, signal: str) -> None:
        number = _signal_number(signal)
        # The process leads its own session, so its PID is also its process group, and is not reused until it is reaped.
        if number is not None and self._process is not None and self._process.returncode is None:
            os.killpg(self._process.pid, number)

    def break_received(self, msec: int) -> bool:
        return False

    def soft_eof_received(self) -> None:
        return

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._hang_up()

    def _run(self) -> None:
        assert self._channel is not None
        shell = self._host.shell
        environment = self._host.environment(self._channel.get_environment_bytes())
        terminal = self._terminal
        if terminal is not None:
            environment |= {"TERM": terminal.kind or "dumb", "SSH_TTY": terminal.name}
        stdio = (terminal.slave_fd,) * 3 if terminal is not None else (subprocess.PIPE,) * 3
        self._process = process = subprocess.Popen(
            # As with login(1), a leading dash requests a login shell.
            [f"-{os.path.basename(shell)}"] if self._command is None else [shell, "-c", self._command],
            executable=shell,
            stdin=stdio[0],
            stdout=stdio[1],
            stderr=stdio[2],
            bufsize=0,
            cwd=self._host.home if os.path.isdir(self._host.home) else "/",
            env=environment,
            start_new_session=True,
            # Safe, because this process has a single thread.
            preexec_fn=make_controlling if terminal is not None else None,  # noqa: PLW1509
            umask=_DEFAULT_UMASK,
        )
        self._host.reaper.watch(process, lambda code: self._finish())
        pause, resume = self._channel.pause_reading, self._channel.resume_reading
        if terminal is not None:
            terminal.close_slave()
            self._stdin_writer = PipeWriter(os.dup(terminal.master_fd), pause, resume)
            self._readers = (PipeReader(os.dup(terminal.master_fd), self._write_stdout, self._on_output_eof),)
            return
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self._stdin_writer = PipeWriter(_detach_fd(process.stdin), pause, resume)
        self._readers = (
            PipeReader(_detach_fd(process.stdout), self._write_stdout, self._on_output_eof),
            PipeReader(_detach_fd(process.stderr), self._write_stderr, self._on_output_eof),
        )

    def _write_stdout(self, data: bytes) -> None:
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write(data)

    def _write_stderr(self, data: bytes) -> None:
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write(data, EXTENDED_DATA_STDERR)

    def _on_output_eof(self) -> None:
        if any(reader.is_open for reader in self._readers):
            return
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write_eof()
        self._finish()

    def _finish(self) -> None:
        assert self._process is not None
        code = self._process.returncode
        if code is None or self._channel is None or any(reader.is_open for reader in self._readers):
            return
        if code < 0:
            self._channel.exit_with_signal(_signal_name(-code))
        else:
            self._channel.exit(code)
        self._hang_up()

    def _hang_up(self) -> None:
        self._channel = None
        if self._stdin_writer is not None:
            self._stdin_writer.close()
        for reader in self._readers:
            reader.close()
        if self._terminal is not None:
            self._terminal.close()


def _detach_fd(pipe: IO[bytes]) -> int:
    """Detach the descriptor of a pipe; the caller then owns it."""
    descriptor = os.dup(pipe.fileno())
    pipe.close()
    return descriptor


def _signal_number(name: str) -> int | None:
    member = signal.Signals.__members__.get(f"SIG{name.removeprefix('SIG')}")
    return None if member is None else member.value


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        name = str(number)
    return name if name in _STANDARD_SIGNALS else f"{name}@notebooks-over-ssh"
