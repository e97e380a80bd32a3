"""Starts the process that has a login and a tunnel in the background, and sends it requests by pipes."""

import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

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
from notebooks_over_ssh.jupyter.session import AnySession, PendingSession, Session, Tunnel
from notebooks_over_ssh.ssh.prompting import CredentialPrompter, Secrets
from notebooks_over_ssh.terminal import is_interactive
from notebooks_over_ssh.util.command_hint import Invocation, invocation

ERRORS: dict[int, type[UserError]] = {
    error.exit_code: error
    for error in (TaskError, ConfigError, ConnectError, AuthenticationError, HostKeyError, RemoteError)
}
"""The error to raise for an exit code of the background process."""
ROOT = Path(__file__).resolve().parents[2]
REQUEST_SIZE = struct.Struct(">I")
"""Before each request: its length in bytes, so that the process can read it into memory that it overwrites."""


class LoginRequest(msgspec.Struct, frozen=True):
    """The first request to the background process: log in to the host of the settings."""

    settings: Settings
    secrets: Secrets
    is_interactive: bool
    banners_shown: tuple[str, ...]
    invocation: Invocation
    expected: Session | None
    """The session whose server will probably be that of the tunnel, and is checked until then."""


class KeepRequest(msgspec.Struct, frozen=True, tag=True):
    """The second: keep the login, without a tunnel."""


class TunnelRequest(msgspec.Struct, frozen=True, tag=True):
    """Instead of a KeepRequest: open a tunnel."""

    session: Session | None
    pending: PendingSession | None
    """Instead of the session, if its job is queued."""
    settings: Settings
    preferred_port: int | None


class DaemonReply(msgspec.Struct, frozen=True):
    """The tunnel, None without one, or the fields of the UserError that prevented the request."""

    tunnel: Tunnel | None = None
    hops: tuple[str, ...] = ()
    """The accounts whose logins are kept, as `user@host`."""
    exit_code: int = 0
    message: str = ""
    hint: str = ""
    detail: tuple[str, ...] = ()
    source: str = ""


class BackgroundProcess:
    """The process, as the command sees it that starts it."""

    def __init__(self) -> None:
        with _sigint_blocked():
            self._process = subprocess.Popen(
                [sys.executable, "-m", "notebooks_over_ssh.tunnel.daemon"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        self.is_logged_in = False

    def log_in(
        self, settings: Settings, credentials: CredentialPrompter, expected: Session | None = None
    ) -> None:
        """Log in to the settings' host, unless it has; other commands use that login from then on.

        `expected` is the session whose tunnel `open_tunnel` will open if a program on the host finds its server
        answering. Raises the process's UserError.
        """
        if self.is_logged_in:
            return
        self._ask(
            LoginRequest(
                settings,
                credentials.secrets,
                is_interactive(),
                tuple(credentials.banners_shown),
                invocation(),
                expected,
            )
        )
        self.is_logged_in = True

    def open_tunnel(self, session: AnySession, settings: Settings, preferred_port: int | None) -> Tunnel:
        """After `log_in`, wait until the tunnel is open, or waits for a queued job; it then outlives this process.

        `preferred_port` is the local port of the tunnel that this one replaces. Raises the process's UserError.
        """
        reply = self._ask(
            TunnelRequest(
                session if isinstance(session, Session) else None,
                session if isinstance(session, PendingSession) else None,
                settings,
                preferred_port,
            )
        )
        assert reply.tunnel is not None, "the reply to a TunnelRequest has one"
        return reply.tunnel

    def keep_login(self) -> tuple[str, ...]:
        """After `log_in`, let the process keep its logins; returns their accounts, none if it has none of its own.

        Raises TaskError if other commands cannot use them.
        """
        return self._ask(KeepRequest()).hops

    def close(self) -> None:
        """Let go of the process: it ends unless it has a tunnel, or keeps its login."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr] # both are pipes

    def _ask(self, request: LoginRequest | KeepRequest | TunnelRequest) -> DaemonReply:
        process = self._process
        assert process.stdin and process.stdout  # for mypy: both are pipes
        try:
            body = msgspec.json.encode(request)
            process.stdin.write(REQUEST_SIZE.pack(len(body)) + body)
            process.stdin.flush()
            reply = msgspec.json.decode(process.stdout.readline(), type=DaemonReply)
        except (OSError, msgspec.DecodeError) as error:
            raise TaskError("the background process ended before it was ready", hint="try again") from error
        except BaseException:
            process.terminate()
            raise
        if reply.exit_code:
            raise ERRORS[reply.exit_code](
                reply.message, hint=reply.hint, detail=reply.detail, source=reply.source
            )
        return reply


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Let a process that the body starts receive SIGINT only once it unblocks it.

    While Python starts and imports, it would print a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
