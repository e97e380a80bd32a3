"""Checks the server's certificate while the command that needs the result still waits for something else.

What a check finds is used once: by the first tunnel of this process to the same server over the same route.
"""

import socket
import threading
import time
from contextlib import closing
from functools import partial

from notebooks_over_ssh.errors import UserError
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.jupyter.verification import VERIFY_TIMEOUT_S, Dial, check_certificate
from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.tunnel.forwarder import Forwarder

LOOPBACK = "127.0.0.1"
# An older result says too little about the server of now.
MAX_AGE_S = 10.0
Route = Connection | int
"""A connection to the host, or the local port of an open tunnel."""


class _Check(threading.Thread):
    def __init__(self, session: Session, route: Route) -> None:
        super().__init__(name="early check", daemon=True)
        self._session = session
        self._route = route
        self._succeeded_at: float | None = None

    def run(self) -> None:
        try:
            if isinstance(self._route, int):
                self._check(partial(socket.create_connection, (LOOPBACK, self._route)))
            else:
                with closing(Forwarder(())) as forwarder:
                    port = self._session.remote_port
                    self._check(partial(forwarder.open_connection, self._route.port_transport, port))
        except (UserError, *FAILURES):
            pass  # the check at the usual time reports it

    def _check(self, dial: Dial) -> None:
        started_at = time.monotonic()
        check_certificate(self._session, dial, VERIFY_TIMEOUT_S)
        self._succeeded_at = started_at

    def is_of(self, session: Session, route: Route) -> bool:
        """Whether it is of that server and over that route."""
        # Connections to the same account are equal.
        is_same = self._route == route if isinstance(route, int) else self._route is route
        return is_same and _server(session) == _server(self._session)

    def wait(self) -> float | None:
        """As `result`."""
        self.join()
        at = self._succeeded_at
        return at if at is not None and time.monotonic() - at < MAX_AGE_S else None


_checks: list[_Check] = []


def begin(session: Session, route: Route) -> None:
    """Begin to check the session's server in another thread, unless that has begun.

    Use it only where a program on the host finds out that Jupyter answers: this check sends no request.
    """
    if not any(check.is_of(session, route) for check in _checks):
        check = _Check(session, route)
        _checks.append(check)
        check.start()


def result(session: Session, route: Route) -> float | None:
    """When the server of the session presented its certificate, by time.monotonic(), after waiting for that.

    None if no check has begun, it failed, or it was too long ago.
    """
    for check in _checks:
        if check.is_of(session, route):
            _checks.remove(check)
            return check.wait()
    return None


def _server(session: Session) -> tuple[object, ...]:
    return session.host, session.remote_port, session.pid, session.process_start, session.certificate_pem
