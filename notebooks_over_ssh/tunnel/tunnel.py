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
from notebooks_over_ssh.errors import Failed
from notebooks_over_ssh.jupyter import certificate as certificates
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.clock import check_dates
from notebooks_over_ssh.jupyter.session import AnySession, Session, Tunnel
from notebooks_over_ssh.jupyter.verification import PROOF_TIMEOUT_S, prove
from notebooks_over_ssh.ssh.prompting import Asking
from notebooks_over_ssh.tunnel import Forwarder, Listener, listen, listen_near
from notebooks_over_ssh.tunnel.port_owners import refuse_those_of_others
from notebooks_over_ssh.tunnel.supervisor import Lifeline
from notebooks_over_ssh.util.command_hint import command

LOCK_TIMEOUT_S = 5
# How long another process may take to open the tunnel: its user may have to type a password there.
OPENING_TIMEOUT_S = 60
LOCK_EVERY_S = 0.2
END_TIMEOUT_S = 10


class AlreadyOpen(Exception):
    """Another process has meanwhile opened just the tunnel that is wanted."""

    def __init__(self, tunnel: Tunnel) -> None:
        super().__init__(tunnel)
        self.tunnel = tunnel


@contextmanager
def held(
    session: Session, settings: Settings, asking: Asking, old_port: int | None = None
) -> Iterator[Lifeline]:
    """Hold the tunnel of the session while the body runs, which begins once the server has proved itself through it.

    `old_port` is that of the tunnel in whose place it comes: where none was asked for, the address should stay.
    Raises a Problem; AlreadyOpen, or Failed, when another process holds it.
    """
    lock = _lock(session, settings)
    with lock, ExitStack() as stack:
        # One that was killed has left its record, with the number of a process that is another's by now.
        sessions.forget_tunnel(session)
        first = stack.enter_context(closing(listen(settings.notebook.local_port, old_port)))
        others = {port: stack.enter_context(closing(listen_near(port))) for port in settings.notebook.forward}
        tunnel = Tunnel(
            pid=os.getpid(),
            local_port=first.port,
            remote_port=session.remote_port,
            extra_ports={port: listener.port for port, listener in others.items()},
            state="open",
        )
        targets: list[tuple[Listener, int]] = [(first, session.remote_port)]
        targets += [(listener, port) for port, listener in others.items()]
        forwarder = stack.enter_context(closing(Forwarder(targets)))
        lifeline = stack.enter_context(closing(Lifeline(session, settings, tunnel, forwarder)))
        connection = lifeline.connect(asking)
        # Only here: a tunnel that was open stays, whatever becomes of a clock.
        check_dates(certificates.parse(session.certificate_pem), session.host, lifeline.clock_ahead)
        refuse_those_of_others(connection, settings.notebook.forward)
        forwarder.accept()
        sessions.remember_tunnel(session, lifeline.tunnel)
        stack.callback(sessions.forget_tunnel, session)
        yield lifeline


def _lock(session: Session, settings: Settings) -> AbstractContextManager[BaseFileLock]:
    """The lock of the session's tunnel. Raises as `held`."""
    began = time.monotonic()
    while True:
        try:
            return sessions.lock_tunnel(session, LOCK_EVERY_S)
        except Timeout as error:
            tunnel = open_to_the_server(session, settings)
            if tunnel is not None:
                raise AlreadyOpen(tunnel) from error
            # As long as there is no record of it, the other one is still being opened.
            limit_s = LOCK_TIMEOUT_S if sessions.tunnel_of(session) else OPENING_TIMEOUT_S
            if time.monotonic() - began > limit_s:
                raise Failed(
                    f"another tunnel to {session.host} is being opened",
                    hint=f"see {command('status')}, or try again",
                ) from error


def open_to_the_server(session: Session, settings: Settings) -> Tunnel | None:
    """The tunnel that is open for the session and leads to its server from the ports that are wanted, or None.

    Raises RemoteFailed when what answers through it is not the server.
    """
    tunnel = sessions.tunnel_of(session)
    wanted = settings.notebook
    if (
        tunnel is None
        or tunnel.state != "open"
        or wanted.local_port not in (None, tunnel.local_port)
        or tunnel.remote_port != session.remote_port
        or not set(wanted.forward) <= set(tunnel.extra_ports)
    ):
        return None
    ahead = prove(
        session, partial(socket.create_connection, ("127.0.0.1", tunnel.local_port)), PROOF_TIMEOUT_S
    )
    check_dates(certificates.parse(session.certificate_pem), session.host, ahead)
    return tunnel


def end(session: AnySession) -> Tunnel | None:
    """End the session's tunnel, whichever process holds it; returns it, or None when there was none.

    Raises Failed when its process does not end.
    """
    tunnel = sessions.tunnel_of(session)
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
        raise Failed(
            f"the tunnel (process {tunnel.pid}) does not end", hint=f"end it with: kill {tunnel.pid}"
        ) from error
    return tunnel
