"""The tunnel of a session: held by one process at a time, and ended from another."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from functools import partial

import psutil
from filelock import BaseFileLock, Timeout

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.jupyter import certificate as certificates
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.clock import check_dates
from notebooks_over_ssh.jupyter.session import AnySession, Session, Tunnel
from notebooks_over_ssh.jupyter.verification import VERIFY_TIMEOUT_S, verify_server
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from notebooks_over_ssh.tunnel import Forwarder, Listener, listen, listen_at_or_after
from notebooks_over_ssh.tunnel.port_owners import check_port_owners
from notebooks_over_ssh.tunnel.supervisor import TunnelSupervisor
from notebooks_over_ssh.util.command_hint import command

LOCK_TIMEOUT_S = 5
# How long another process may take to open the tunnel: its user may have to type a password there.
OPENING_TIMEOUT_S = 60
LOCK_POLL_INTERVAL_S = 0.2
END_TIMEOUT_S = 10


class AlreadyOpen(Exception):
    """Another process has meanwhile opened just the tunnel that is wanted."""

    def __init__(self, tunnel: Tunnel) -> None:
        super().__init__(tunnel)
        self.tunnel = tunnel


@contextmanager
def open_tunnel(
    session: Session, settings: Settings, credentials: CredentialPrompter, preferred_port: int | None = None
) -> Iterator[TunnelSupervisor]:
    """Hold the tunnel of the session while the body runs, which begins once the server has proved itself through it.

    `preferred_port` is that of the tunnel in whose place it comes: where none was asked for, the address should stay.
    Raises a UserError; AlreadyOpen, or TaskError, when another process holds it.
    """
    lock = _lock(session, settings)
    with lock, ExitStack() as stack:
        # One that was killed has left its record, with the number of a process that is another's by now.
        sessions.delete_tunnel(session)
        main_listener = stack.enter_context(closing(listen(settings.notebook.local_port, preferred_port)))
        extra = {
            port: stack.enter_context(closing(listen_at_or_after(port))) for port in settings.notebook.forward
        }
        tunnel = Tunnel(
            pid=os.getpid(),
            local_port=main_listener.port,
            remote_port=session.remote_port,
            extra_ports={port: listener.port for port, listener in extra.items()},
            state="open",
        )
        targets: list[tuple[Listener, int]] = [(main_listener, session.remote_port)]
        targets += [(listener, port) for port, listener in extra.items()]
        forwarder = stack.enter_context(closing(Forwarder(targets)))
        supervisor = stack.enter_context(
            closing(TunnelSupervisor.connect(session, settings, tunnel, forwarder, credentials))
        )
        # Only when a tunnel opens: one that is open stays open when a clock is set wrong.
        check_dates(
            certificates.parse(session.certificate_pem), session.host, supervisor.server.clock_offset_s
        )
        check_port_owners(supervisor.connection, settings.notebook.forward)
        forwarder.start()
        sessions.save_tunnel(session, supervisor.tunnel)
        stack.callback(sessions.delete_tunnel, session)
        yield supervisor


def _lock(session: Session, settings: Settings) -> AbstractContextManager[BaseFileLock]:
    """The lock of the session's tunnel. Raises as `open_tunnel`."""
    started_at = time.monotonic()
    while True:
        try:
            return sessions.lock_tunnel(session, LOCK_POLL_INTERVAL_S)
        except Timeout as error:
            tunnel = find_reusable(session, settings)
            if tunnel is not None:
                raise AlreadyOpen(tunnel) from error
            # As long as there is no record of it, the other one is still being opened.
            timeout_s = LOCK_TIMEOUT_S if sessions.get_tunnel(session) else OPENING_TIMEOUT_S
            if time.monotonic() - started_at > timeout_s:
                raise TaskError(
                    f"another tunnel to {session.host} is being opened",
                    hint=f"see {command('status')}, or try again",
                ) from error


def find_reusable(session: Session, settings: Settings) -> Tunnel | None:
    """The tunnel that is open for the session and leads to its server from the ports that are wanted, or None.

    Raises RemoteError when what answers through it is not the server.
    """
    tunnel = sessions.get_tunnel(session)
    notebook = settings.notebook
    if (
        tunnel is None
        or tunnel.state != "open"
        or notebook.local_port not in (None, tunnel.local_port)
        or tunnel.remote_port != session.remote_port
        or not set(notebook.forward) <= set(tunnel.extra_ports)
    ):
        return None
    clock_offset_s = verify_server(
        session, partial(socket.create_connection, ("127.0.0.1", tunnel.local_port)), VERIFY_TIMEOUT_S
    )
    check_dates(certificates.parse(session.certificate_pem), session.host, clock_offset_s)
    return tunnel


def terminate(session: AnySession) -> Tunnel | None:
    """End the session's tunnel, whichever process holds it; returns it, or None when there was none.

    Raises TaskError when its process does not end.
    """
    tunnel = sessions.get_tunnel(session)
    if tunnel is None:
        return None
    with suppress(psutil.NoSuchProcess):
        # The lock is held, and only by the process that wrote this record: the number is no stranger's.
        psutil.Process(tunnel.pid).send_signal(signal.SIGTERM)
    try:
        # Not until the process is gone: a foreground tunnel may be a zombie for as long as its parent likes.
        with sessions.lock_tunnel(session, END_TIMEOUT_S):
            pass
    except Timeout as error:
        raise TaskError(
            f"the tunnel (process {tunnel.pid}) does not end", hint=f"end it with: kill {tunnel.pid}"
        ) from error
    return tunnel
