"""Opens, finds and ends the tunnel of a session. One process at a time has it; a lock guards that."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from functools import partial
from threading import Timer

import msgspec
import psutil
from filelock import BaseFileLock, Timeout

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.jupyter import certificate as certificates
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.clock import check_dates
from notebooks_over_ssh.jupyter.session import AnySession, PendingSession, Session, Tunnel
from notebooks_over_ssh.jupyter.verification import VERIFY_TIMEOUT_S, verify_server
from notebooks_over_ssh.ssh import connections as ssh
from notebooks_over_ssh.ssh.mux.holder import LoginHolder
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from notebooks_over_ssh.tunnel import (
    Forwarder,
    Listener,
    early_check,
    listen,
    listen_at_or_after,
    listen_on_any_port,
)
from notebooks_over_ssh.tunnel.port_owners import check_port_owners
from notebooks_over_ssh.tunnel.supervisor import TunnelSupervisor
from notebooks_over_ssh.util.command_hint import command

LOCK_TIMEOUT_S = 5
# How long another process may take to open the tunnel: its user may have to type a password.
OPENING_TIMEOUT_S = 60
LOCK_POLL_INTERVAL_S = 0.2
END_TIMEOUT_S = 10
# Less than another command waits for the end of the tunnel.
CLOSE_TIMEOUT_S = 3
NO_PORT = 0
"""The port of a server that is not known yet."""


class AlreadyOpen(Exception):
    """Another process has meanwhile opened the same tunnel."""

    def __init__(self, tunnel: Tunnel) -> None:
        super().__init__(tunnel)
        self.tunnel = tunnel


@contextmanager
def open_tunnel(
    session: Session, settings: Settings, credentials: CredentialPrompter, preferred_port: int | None = None
) -> Iterator[TunnelSupervisor]:
    """Open the session's tunnel for the body, which runs once the server has been verified through it.

    Raises a UserError, and as `reserve_ports`.
    """
    with (
        reserve_ports(session, settings, preferred_port) as ports,
        # Before the ports and the lock are released, so that a command that waits for those uses it no more.
        closing(LoginHolder()) as logins,
        ports.open_tunnel(session, credentials, logins) as supervisor,
    ):
        yield supervisor


@contextmanager
def reserve_ports(
    session: AnySession, settings: Settings, preferred_port: int | None = None
) -> Iterator["TunnelPorts"]:
    """Listen on the local ports of the session's tunnel during the body. Connections wait until the tunnel is open.

    `preferred_port` is the local port of the tunnel that this one replaces: unless the settings name a port, it stays
    the same. Raises a UserError; AlreadyOpen, or TaskError, if another process has the tunnel.
    """
    lock = _lock(session, settings)
    # Writing the tunnel's last messages to a connection that is kept may block.
    close_timeout = Timer(CLOSE_TIMEOUT_S, ssh.close_all)
    with lock, ExitStack() as stack:
        stack.callback(close_timeout.cancel)
        # A process that was killed leaves its record, whose PID may belong to another process by now.
        sessions.delete_tunnel(session)
        main_listener = stack.enter_context(closing(listen(settings.notebook.local_port, preferred_port)))
        extra = {
            port: stack.enter_context(closing(listen_at_or_after(port))) for port in settings.notebook.forward
        }
        # Another one each time: what another user has left in a browser for the last port does not reach the next.
        plain_listener = (
            stack.enter_context(closing(listen_on_any_port())) if settings.notebook.plain else None
        )
        targets: list[tuple[Listener, int]] = [(main_listener, NO_PORT)]
        targets += [(listener, port) for port, listener in extra.items()]
        forwarder = stack.enter_context(closing(Forwarder(targets)))
        tunnel = Tunnel(
            pid=os.getpid(),
            local_port=main_listener.port,
            remote_port=None,
            extra_ports={port: listener.port for port, listener in extra.items()},
            state="waiting",
            plain_port=plain_listener.port if plain_listener else None,
        )
        stack.callback(sessions.delete_tunnel, session)
        yield TunnelPorts(session, settings, tunnel, forwarder, plain_listener, close_timeout)


class TunnelPorts:
    """The local ports of a tunnel, on which this process listens."""

    def __init__(
        self,
        session: AnySession,
        settings: Settings,
        tunnel: Tunnel,
        forwarder: Forwarder,
        plain_listener: Listener | None,
        close_timeout: Timer,
    ) -> None:
        """`close_timeout` is started when the tunnel is being closed."""
        self.tunnel = tunnel
        """The record of the tunnel while it waits for the server."""
        self._session = session
        self._settings = settings
        self._forwarder = forwarder
        self._plain_listener = plain_listener
        self._close_timeout = close_timeout

    def save(self, login_required: str = "") -> None:
        """Record that the tunnel waits for the server, and why it does not log in again by itself. Raises TaskError."""
        sessions.save_tunnel(
            self._session, msgspec.structs.replace(self.tunnel, login_required=login_required)
        )

    @contextmanager
    def open_tunnel(
        self, session: Session, credentials: CredentialPrompter, logins: LoginHolder
    ) -> Iterator[TunnelSupervisor]:
        """Open the tunnel for the body, once the server has been verified through it. Raises a UserError.

        Other commands may use its logins by `logins`.
        """
        logins.tunnel = f"the tunnel to {session.host}"
        tunnel = msgspec.structs.replace(self.tunnel, state="open", remote_port=session.remote_port)
        self._forwarder.targets[0].port = session.remote_port
        with ExitStack() as stack:
            supervisor = stack.enter_context(
                closing(
                    TunnelSupervisor.connect(
                        session, self._settings, tunnel, self._forwarder, credentials, logins
                    )
                )
            )
            # Only when a tunnel opens: one that is open stays open when a clock is set wrong.
            check_dates(
                certificates.parse(session.certificate_pem), session.host, supervisor.server.clock_offset_s
            )
            check_port_owners(supervisor.connection, self._settings.notebook.forward)
            self._forwarder.start()
            stack.callback(sessions.delete_tunnel, session)
            if self._plain_listener:
                from notebooks_over_ssh.tunnel.plain.port import open_plain_port

                stack.enter_context(open_plain_port(self._plain_listener, supervisor))
            sessions.save_tunnel(session, supervisor.tunnel)
            try:
                yield supervisor
            finally:
                self._close_timeout.start()


def _lock(session: AnySession, settings: Settings) -> AbstractContextManager[BaseFileLock]:
    """Acquire the lock of the session's tunnel. Raises as `reserve_ports` does."""
    started_at = time.monotonic()
    while True:
        try:
            return sessions.lock_tunnel(session, LOCK_POLL_INTERVAL_S)
        except Timeout as error:
            tunnel = find_reusable(session, settings)
            if tunnel is not None:
                raise AlreadyOpen(tunnel) from error
            # Without a record, the other process is still opening the tunnel.
            timeout_s = LOCK_TIMEOUT_S if sessions.get_tunnel(session) else OPENING_TIMEOUT_S
            if time.monotonic() - started_at > timeout_s:
                raise TaskError(
                    f"another tunnel to {session.host} is being opened",
                    hint=f"try again; {command('status')} shows whether it is open",
                ) from error


def find_reusable(session: AnySession, settings: Settings) -> Tunnel | None:
    """As `get_reusable`, after verifying the server through it. Raises RemoteError if that fails."""
    tunnel = get_reusable(session, settings)
    if tunnel is None or isinstance(session, PendingSession):
        return None
    clock_offset_s = None
    if early_check.result(session, tunnel.local_port) is None:
        dial = partial(socket.create_connection, ("127.0.0.1", tunnel.local_port))
        clock_offset_s = verify_server(session, dial, VERIFY_TIMEOUT_S)
    check_dates(certificates.parse(session.certificate_pem), session.host, clock_offset_s)
    return tunnel


def get_reusable(session: AnySession, settings: Settings) -> Tunnel | None:
    """The session's open tunnel if it forwards the ports that the settings ask for, else None."""
    tunnel = sessions.get_tunnel(session)
    notebook = settings.notebook
    if (
        tunnel is None
        or isinstance(session, PendingSession)
        or tunnel.state != "open"
        or notebook.local_port not in (None, tunnel.local_port)
        or tunnel.remote_port != session.remote_port
        or not set(notebook.forward) <= set(tunnel.extra_ports)
        or (notebook.plain and tunnel.plain_port is None)
    ):
        return None
    return tunnel


def terminate(session: AnySession) -> Tunnel | None:
    """End the session's tunnel, in whichever process it is; returns it, or None if there was none.

    Raises TaskError if its process does not end.
    """
    tunnel = sessions.get_tunnel(session)
    if tunnel is None:
        return None
    with suppress(psutil.NoSuchProcess):
        # The process that wrote this record still has the lock, so the PID has not been reused.
        psutil.Process(tunnel.pid).send_signal(signal.SIGTERM)
    try:
        # Wait for the lock, not for the process: a foreground tunnel may stay a zombie until its parent waits for it.
        with sessions.lock_tunnel(session, END_TIMEOUT_S):
            pass
    except Timeout as error:
        raise TaskError(
            f"the tunnel (process {tunnel.pid}) did not end", hint=f"end it with: kill {tunnel.pid}"
        ) from error
    return tunnel
