"""A tunnel in a background process, which outlives the command and the terminal that opened it.

The process reads its request, secrets included, from a pipe. While the command waits, it prompts at the command's
terminal; it then sends its reply through another pipe and detaches from the terminal.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Any

import msgspec

from notebooks_over_ssh import debug_log, state_files
from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import (
    AuthenticationError,
    ConfigError,
    ConnectError,
    HostKeyError,
    RemoteError,
    TaskError,
    UserError,
)
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import AnySession, PendingSession, Session, Tunnel
from notebooks_over_ssh.ssh.prompting import CredentialPrompter, Secrets
from notebooks_over_ssh.terminal import TerminalPrompter, is_interactive, print_error, print_line
from notebooks_over_ssh.tunnel import tunnel as tunnels
from notebooks_over_ssh.tunnel.events import LoginRequired, ServerAwaited, TunnelEvent
from notebooks_over_ssh.tunnel.job_wait import JobWait
from notebooks_over_ssh.tunnel.supervisor import TunnelSupervisor
from notebooks_over_ssh.tunnel.tunnel import TunnelPorts
from notebooks_over_ssh.util.command_hint import Invocation, act_for, invocation
from notebooks_over_ssh.util.generator_result import WithResult

_log = logging.getLogger(__name__)

RETRY_PAUSE_S = 5
ERRORS: dict[int, type[UserError]] = {
    error.exit_code: error
    for error in (TaskError, ConfigError, ConnectError, AuthenticationError, HostKeyError, RemoteError)
}
"""The error to raise for an exit code of the background process."""
ROOT = Path(__file__).resolve().parents[2]


class DaemonRequest(msgspec.Struct, frozen=True):
    """The arguments of the background process."""

    session: Session | None
    pending: PendingSession | None
    """Instead of the session, if its job is queued."""
    settings: Settings
    secrets: Secrets
    is_interactive: bool
    banners_shown: tuple[str, ...]
    preferred_port: int | None
    invocation: Invocation


class DaemonReply(msgspec.Struct, frozen=True):
    """The tunnel, or the fields of the UserError that prevented it."""

    tunnel: Tunnel | None = None
    exit_code: int = 0
    message: str = ""
    hint: str = ""
    detail: tuple[str, ...] = ()
    source: str = ""


def spawn(
    session: AnySession, settings: Settings, credentials: CredentialPrompter, preferred_port: int | None
) -> Tunnel:
    """Start the process and wait until its tunnel is open, or waits for a queued job; returns the tunnel.

    Raises the process's UserError.

    `preferred_port` is the local port of the tunnel that this one replaces.
    """
    request = DaemonRequest(
        session if isinstance(session, Session) else None,
        session if isinstance(session, PendingSession) else None,
        settings,
        credentials.secrets,
        is_interactive(),
        tuple(credentials.banners_shown),
        preferred_port,
        invocation(),
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "notebooks_over_ssh.tunnel.daemon"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin and process.stdout  # for mypy: both are pipes
    try:
        with process.stdin, process.stdout:
            process.stdin.write(msgspec.json.encode(request) + b"\n")
            process.stdin.close()
            reply = msgspec.json.decode(process.stdout.read(), type=DaemonReply)
    except msgspec.DecodeError as error:
        raise TaskError(
            "the tunnel's background process ended before it was ready", hint="try again"
        ) from error
    except BaseException:
        process.terminate()
        raise
    if reply.tunnel is None:
        raise ERRORS[reply.exit_code](
            reply.message, hint=reply.hint, detail=reply.detail, source=reply.source
        )
    return reply.tunnel


def main() -> int:
    """Read the request, open the tunnel, send the reply, and keep the tunnel open until SIGTERM."""
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=DaemonRequest)
    act_for(request.invocation)
    signal.signal(signal.SIGTERM, _on_sigterm)
    with suppress(OSError):  # the waiting command has reported it
        debug_log.start()
    daemon = Daemon(request)
    try:
        daemon.run()
    except tunnels.AlreadyOpen as other:
        _send_reply(DaemonReply(other.tunnel))
    except KeyboardInterrupt:
        return 1  # the waiting command was interrupted too, and reports it
    except UserError as error:
        if daemon.is_detached:
            print_error(error)
        else:
            _send_reply(
                DaemonReply(None, error.exit_code, str(error), error.hint, error.detail, error.source)
            )
        return error.exit_code
    return 0


class Daemon:
    """The work of the background process."""

    def __init__(self, request: DaemonRequest) -> None:
        self.is_detached = False
        """Whether the command has its reply."""
        self._request = request
        session = request.session or request.pending
        assert session is not None  # for mypy: there is one of the two
        self._session: AnySession = session
        self._credentials = CredentialPrompter(
            TerminalPrompter(request.is_interactive), request.secrets, request.banners_shown
        )

    def run(self) -> None:
        """Open the tunnel, and keep it open. Raises a UserError."""
        request = self._request
        with (
            tunnels.reserve_ports(self._session, request.settings, request.preferred_port) as ports,
            self._open_tunnel(ports) as supervisor,
        ):
            if not self.is_detached:
                self._detach(supervisor.tunnel)
            for event in supervisor.run(self._credentials.non_interactive()):
                _log_event(event)

    @contextmanager
    def _open_tunnel(self, ports: TunnelPorts) -> Iterator[TunnelSupervisor]:
        """Open the tunnel for the body, once the job has started if that is queued. Raises a UserError."""
        if isinstance(self._session, Session):
            with ports.open_tunnel(self._session, self._credentials) as supervisor:
                yield supervisor
            return
        wait = JobWait(self._session, self._request.settings, self._credentials)
        ports.save()
        self._detach(ports.tunnel)
        credentials = self._credentials.non_interactive()
        with ExitStack() as stack:
            while True:
                session = self._wait(wait, ports, credentials)
                try:
                    supervisor = stack.enter_context(ports.open_tunnel(session, credentials))
                except ConnectError as error:
                    print_error(error)
                    Event().wait(RETRY_PAUSE_S)
                else:
                    yield supervisor
                    return

    def _wait(self, wait: JobWait, ports: TunnelPorts, credentials: CredentialPrompter) -> Session:
        events = WithResult(wait.run(credentials))
        for event in events:
            _log_event(event)
            ports.save(event.reason if isinstance(event, LoginRequired) else "")
        return events.result

    def _detach(self, tunnel: Tunnel) -> None:
        _send_reply(DaemonReply(tunnel))
        _daemonize(self._session)
        self.is_detached = True


def _log_event(event: TunnelEvent) -> None:
    _log.debug("%s", event)
    if not isinstance(event, ServerAwaited) or event.is_news:
        print_line(f"{datetime.now():%Y-%m-%d %H:%M:%S} {event}")


def _on_sigterm(*_: Any) -> None:
    raise SystemExit(0)


def _send_reply(reply: DaemonReply) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(reply))
    sys.stdout.flush()


def _daemonize(session: AnySession) -> None:
    """Detach from the terminal. Redirecting stdout closes the pipe, which ends the wait of the command."""
    os.setsid()
    os.chdir("/")
    log = state_files.open_log(sessions.tunnel_log(session))
    devnull = os.open(os.devnull, os.O_RDONLY)
    for new, old in ((devnull, 0), (log, 1), (log, 2)):
        os.dup2(new, old)
    os.close(log)
    os.close(devnull)


if __name__ == "__main__":
    raise SystemExit(main())
