"""The background process, which outlives the command and the terminal that started it (background_process.py).

The process reads its requests, secrets included, from a pipe. While the command waits, it prompts at the command's
terminal; it sends its replies through another pipe and then detaches from the terminal. It logs in first, so that the
command uses that login, and keeps the login for a while after the tunnel.
"""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from functools import cached_property
from threading import Event
from typing import Any

import msgspec

from notebooks_over_ssh import debug_log, state_files
from notebooks_over_ssh.errors import (
    ConnectError,
    TaskError,
    Terminated,
    UserError,
)
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.connecting import connect_to_login
from notebooks_over_ssh.jupyter.session import AnySession, Session, Tunnel
from notebooks_over_ssh.ssh.mux.holder import LoginHolder
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from notebooks_over_ssh.terminal import TerminalPrompter, print_error, print_line
from notebooks_over_ssh.tunnel import early_check
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.tunnel.background_process import (
    REQUEST_SIZE,
    DaemonReply,
    KeepRequest,
    LoginRequest,
    TunnelRequest,
)
from notebooks_over_ssh.tunnel.events import LoginRequired, Reconnected, ServerAwaited, TunnelEvent
from notebooks_over_ssh.tunnel.job_wait import JobWait
from notebooks_over_ssh.tunnel.login_lifetime import keep
from notebooks_over_ssh.tunnel.supervisor import TunnelSupervisor
from notebooks_over_ssh.tunnel.tunnel import TunnelPorts
from notebooks_over_ssh.util import heap
from notebooks_over_ssh.util.command_hint import act_for
from notebooks_over_ssh.util.generator_result import WithResult
from notebooks_over_ssh.util.interrupted_wait import interrupts_kept

_log = logging.getLogger(__name__)

RETRY_PAUSE_S = 5
LOGIN_FOLDER_HINT = (
    "make its folder yours and writable, with space left, or set XDG_STATE_HOME to another one"
)


def main() -> int:
    """Log in, open the tunnel, send a reply after each, keep the tunnel open until SIGTERM, and then the login."""
    try:
        with interrupts_kept():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))  # background_process.py blocks it
            request = _read_request(LoginRequest)
            if request is None:
                return 0  # the command has failed
            daemon = Daemon(request)
            del request  # it has secrets
            return _run(daemon)
    except KeyboardInterrupt:
        return 1  # the waiting command was interrupted too, and reports it
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # an exception would interrupt Python's exit handlers
            signal.signal(number, signal.SIG_DFL)


def _run(daemon: "Daemon") -> int:
    signal.signal(signal.SIGTERM, _on_sigterm)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # without its terminal the command ends, and closes the pipe
    with suppress(OSError):  # the waiting command has reported it
        debug_log.start()
    with closing(LoginHolder(daemon.login_lifetime_s)) as logins:
        exit_code = 0
        try:
            daemon.run(logins)
        except tunnels.AlreadyOpen as other:
            _send_reply(DaemonReply(other.tunnel))
        except UserError as error:
            exit_code = error.exit_code
            _send_reply(DaemonReply(None, (), exit_code, str(error), error.hint, error.detail, error.source))
        if not daemon.is_detached:
            daemon.keep_while_used(logins)
    return exit_code


class Daemon:
    """The work of the background process."""

    def __init__(self, request: LoginRequest) -> None:
        self.is_detached = False
        """Whether the command has its tunnel."""
        act_for(request.invocation)
        self.login_lifetime_s = request.settings.notebook.login_lifetime
        self._settings = request.settings
        self._expected = request.expected
        self._credentials = CredentialPrompter(
            TerminalPrompter(request.is_interactive), request.secrets, request.banners_shown
        )

    @cached_property
    def _unattended(self) -> CredentialPrompter:
        """What reconnects the tunnel once the command has it."""
        return self._credentials.non_interactive()

    def run(self, logins: LoginHolder) -> None:
        """Log in, open the tunnel that the command asks for, keep it open, and after it the login.

        Raises a UserError before the command has its tunnel.
        """
        login = connect_to_login(self._settings, self._credentials)
        logins.offer(login)
        if self._expected is not None:
            early_check.begin(self._expected, login)
        _send_reply(DaemonReply())
        request = _read_request(KeepRequest | TunnelRequest)
        if request is None:
            return  # the command needs no tunnel, or has failed
        try:
            if isinstance(request, TunnelRequest):
                self._run_tunnel(request, logins)
            else:
                self._detach_without_tunnel(logins)
        except (UserError, Terminated) as error:
            if not self.is_detached:
                raise
            if isinstance(error, UserError):
                print_error(error)
        logins.tunnel = ""
        self._drop_secrets(logins)
        if logins.outlives_tunnel:
            keep(logins)

    def keep_while_used(self, logins: LoginHolder) -> None:
        """Keep the logins until the other commands that use them have ended."""
        logins.lifetime_s = 0
        if logins.may_stay(0):
            self._drop_secrets(logins)
            _daemonize(os.open(os.devnull, os.O_WRONLY))
            keep(logins)

    def _run_tunnel(self, request: TunnelRequest, logins: LoginHolder) -> None:
        """Open the tunnel, and keep it open until SIGTERM, which raises Terminated. Raises a UserError."""
        session = request.session or request.pending
        assert session is not None  # for mypy: there is one of the two
        self._session: AnySession = session
        self._settings = request.settings
        with (
            tunnels.reserve_ports(session, request.settings, request.preferred_port) as ports,
            self._open_tunnel(ports, logins) as supervisor,
        ):
            if not self.is_detached:
                self._detach(supervisor.tunnel)
                if self._unattended.requires_interaction and supervisor.server.session.job is None:
                    self._drop_secrets(logins)  # nothing logs in again without the user
            for event in supervisor.run(self._unattended):
                _log_event(event)

    @contextmanager
    def _open_tunnel(self, ports: TunnelPorts, logins: LoginHolder) -> Iterator[TunnelSupervisor]:
        """Open the tunnel for the body, once the job has started if that is queued. Raises a UserError."""
        if isinstance(self._session, Session):
            with ports.open_tunnel(self._session, self._credentials, logins) as supervisor:
                yield supervisor
            return
        wait = JobWait(self._session, self._settings, self._credentials)
        logins.offer(wait.login)
        logins.tunnel = f"the tunnel to {self._session.host}"
        ports.save()
        self._detach(ports.tunnel)
        with ExitStack() as stack:
            while True:
                session = self._wait(wait, ports, logins)
                try:
                    supervisor = stack.enter_context(ports.open_tunnel(session, self._unattended, logins))
                except ConnectError as error:
                    print_error(error)
                    Event().wait(RETRY_PAUSE_S)
                else:
                    yield supervisor
                    return

    def _wait(self, wait: JobWait, ports: TunnelPorts, logins: LoginHolder) -> Session:
        events = WithResult(wait.run(self._unattended))
        for event in events:
            _log_event(event)
            if isinstance(event, Reconnected):
                logins.offer(wait.login)
            ports.save(event.reason if isinstance(event, LoginRequired) else "")
        return events.result

    def _drop_secrets(self, logins: LoginHolder) -> None:
        for credentials in (
            self._credentials,
            self._unattended,
            *(hop.login.credentials for hop in logins.connections),
        ):
            credentials.clear()
        heap.overwrite_freed_objects()

    def _detach(self, tunnel: Tunnel) -> None:
        _send_reply(DaemonReply(tunnel))
        _daemonize(state_files.open_log(sessions.tunnel_log(self._session)))
        self.is_detached = True

    def _detach_without_tunnel(self, logins: LoginHolder) -> None:
        if logins.problem:
            raise TaskError(f"other commands cannot use the login: {logins.problem}", hint=LOGIN_FOLDER_HINT)
        _send_reply(DaemonReply(hops=logins.hops))
        _daemonize(os.open(os.devnull, os.O_WRONLY))
        self.is_detached = True


def _log_event(event: TunnelEvent) -> None:
    _log.debug("%s", event)
    if not isinstance(event, ServerAwaited) or event.is_news:
        print_line(f"{datetime.now():%Y-%m-%d %H:%M:%S} {event}")


def _on_sigterm(*_: Any) -> None:
    raise Terminated


def _read_request(kind: Any) -> Any:
    """The next request of the command, of this kind; None if it sends no more.

    It may have secrets, of which `sys.stdin` would leave copies in its buffer.
    """
    size = bytearray(REQUEST_SIZE.size)
    if not _read_all(size):
        return None
    body = bytearray(*REQUEST_SIZE.unpack(size))
    try:
        return msgspec.json.decode(body, type=kind) if _read_all(body) else None
    finally:
        body[:] = bytes(len(body))


def _read_all(buffer: bytearray) -> bool:
    """Fill the buffer from standard input; returns whether there was enough."""
    with memoryview(buffer) as view:
        size = 0
        while size < len(buffer):
            received = os.readv(sys.stdin.fileno(), [view[size:]])
            if not received:
                return False
            size += received
    return True


def _send_reply(reply: DaemonReply) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(reply) + b"\n")
    sys.stdout.flush()


def _daemonize(log: int) -> None:
    """Detach from the terminal. Redirecting stdout closes the pipe, which ends the wait of the command."""
    os.setsid()
    os.chdir("/")
    devnull = os.open(os.devnull, os.O_RDONLY)
    for new, old in ((devnull, 0), (log, 1), (log, 2)):
        os.dup2(new, old)
    os.close(log)
    os.close(devnull)


if __name__ == "__main__":
    raise SystemExit(main())
