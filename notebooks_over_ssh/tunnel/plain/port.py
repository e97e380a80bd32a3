"""Opens the plain port of a tunnel."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Lock

from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.jupyter import certificate, plain_address, server
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.tunnel.listener import Listener
from notebooks_over_ssh.tunnel.plain.credentials import new_token
from notebooks_over_ssh.tunnel.plain.proxy import PlainProxy
from notebooks_over_ssh.tunnel.plain.server_connection import Server, ServerConnector
from notebooks_over_ssh.tunnel.supervisor import TunnelSupervisor
from notebooks_over_ssh.util.command_hint import command


@contextmanager
def open_plain_port(listener: Listener, supervisor: TunnelSupervisor) -> Iterator[None]:
    """Serve the plain port while the body runs, with a token of its own in a private file. Raises a UserError.

    The file is deleted with the tunnel's record.
    """
    find_server = ServerFinder(supervisor)
    find_server()
    session, token = supervisor.server.session, new_token()
    plain_address.save_token(session, token)
    connector = ServerConnector(supervisor.tunnel.local_port, token, find_server)
    with closing(PlainProxy(listener, connector)) as proxy:
        proxy.start()
        yield


class ServerFinder:
    """Finds the server of a tunnel. Fetches the token of each server once, over the tunnel's connection."""

    def __init__(self, supervisor: TunnelSupervisor) -> None:
        self._supervisor = supervisor
        self._lock = Lock()
        self._session: Session | None = None
        self._server: Server | None = None

    def __call__(self) -> Server:
        """The current server. May block; thread-safe. Raises a UserError if it has ended."""
        tracker = self._supervisor.server
        with self._lock:
            session = tracker.session
            if tracker.has_ended:
                raise TaskError(
                    f"the Jupyter server on {session.host} has ended",
                    hint=f"{command('serve')} starts another",
                )
            if self._server is None or session != self._session:
                token = server.get_token(self._supervisor.connection, session)
                self._session, self._server = (
                    session,
                    Server(certificate.parse(session.certificate_pem), token),
                )
            return self._server
