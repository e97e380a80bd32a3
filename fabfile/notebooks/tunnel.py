"""The tunnel of a session: held by one process at a time, and ended from another."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event

import psutil
from filelock import Timeout

from fabfile.errors import CannotConnect, Failed
from fabfile.notebooks import session as sessions
from fabfile.notebooks.proof import prove
from fabfile.notebooks.reach import reach_session
from fabfile.notebooks.session import Session, Tunnel
from fabfile.settings import Settings
from fabfile.ssh.asking import Asking
from fabfile.ssh.connection import Connection
from fabfile.ssh.forwarding import forward, listen

LOCK_TIMEOUT_S = 5
END_TIMEOUT_S = 10
PROOF_TIMEOUT_S = 30
LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Held:
    """The tunnel of this process, and the Connection that carries it."""

    tunnel: Tunnel
    session: Session
    connection: Connection

    def wait(self) -> None:
        """Wait until something is raised here, as Ctrl-C does. Raises CannotConnect when the connection is lost."""
        while self.connection.is_connected:
            Event().wait(LOOK_EVERY_S)
        raise CannotConnect(
            f"the connection to {self.session.host} was lost, and the tunnel with it",
            hint="the server still runs: open the tunnel again with tunnel",
        )


@contextmanager
def held(session: Session, settings: Settings, asking: Asking) -> Iterator[Held]:
    """Hold the tunnel of the session while the body runs, which begins once the server has proved itself through it.

    Raises a Problem; Failed when another process holds it.
    """
    try:
        lock = sessions.tunnel_lock(session).acquire(timeout=LOCK_TIMEOUT_S)
    except Timeout as error:
        raise Failed(
            f"another tunnel to {session.host} is being opened", hint="see status, or try again"
        ) from error
    with lock:
        listener = listen(settings.notebook.local_port)
        try:
            connection = reach_session(session, settings, asking)
            with forward(listener, connection.transport, "127.0.0.1", session.remote_port):
                prove(session, listener.port, PROOF_TIMEOUT_S)
                tunnel = Tunnel(
                    pid=os.getpid(),
                    local_port=listener.port,
                    remote_port=session.remote_port,
                    state="open",
                )
                sessions.remember_tunnel(session, tunnel)
                try:
                    yield Held(tunnel, session, connection)
                finally:
                    sessions.forget_tunnel(session)
        finally:
            listener.close()


def open_to_the_server(session: Session, wanted_port: int | None) -> Tunnel | None:
    """The tunnel that is open for the session and leads to its server from the wanted local port, or None.

    Raises RemoteFailed when what answers through it is not the server.
    """
    tunnel = sessions.tunnel_of(session)
    if (
        tunnel is None
        or wanted_port not in (None, tunnel.local_port)
        or tunnel.remote_port != session.remote_port
    ):
        return None
    prove(session, tunnel.local_port, PROOF_TIMEOUT_S)
    return tunnel


def end(session: Session) -> Tunnel | None:
    """End the session's tunnel, whichever process holds it; returns it, or None when there was none.

    Raises Failed when its process does not end.
    """
    tunnel = sessions.tunnel_of(session)
    if tunnel is None:
        return None
    with suppress(psutil.NoSuchProcess):
        # The lock is held, and only by the process that wrote this record: the number is no stranger's.
        process = psutil.Process(tunnel.pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_TIMEOUT_S)
        except psutil.TimeoutExpired as error:
            raise Failed(
                f"the tunnel (process {tunnel.pid}) does not end", hint=f"end it with: kill {tunnel.pid}"
            ) from error
    return tunnel
