"""The wait for a queued job before its tunnel is opened, in a process that nobody watches."""

from collections.abc import Generator
from contextlib import closing

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import ConnectError, RemoteError
from notebooks_over_ssh.jupyter.connecting import connect_to_login_of
from notebooks_over_ssh.jupyter.session import AnySession, Session
from notebooks_over_ssh.ssh import connections as ssh
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from notebooks_over_ssh.tunnel.events import Disconnected, Reconnected, TunnelEvent
from notebooks_over_ssh.tunnel.keepalive import KeepaliveMonitor
from notebooks_over_ssh.tunnel.next_server import NextServer
from notebooks_over_ssh.tunnel.reconnecting import Attempt, Reconnector


class JobWait:
    """Waits for the server of a session, over one connection after another. Its creation logs in."""

    def __init__(self, session: AnySession, settings: Settings, credentials: CredentialPrompter) -> None:
        """Raises a UserError if the login fails."""
        self._session = session
        self._settings = settings
        self.login = connect_to_login_of(session, settings, credentials)
        """The Connection to the host that leads to the session."""

    def run(self, credentials: CredentialPrompter) -> Generator[TunnelEvent, None, Session]:
        """Yield what happens until the server is on record; returns its session.

        Raises a UserError: JobEndedError if the job has ended and none takes its place.
        """
        server = NextServer(self._session, self._settings)
        while True:
            try:
                session, _ = yield from server.start(self.login)
            except (ConnectError, RemoteError) as error:
                yield Disconnected(str(error))
            else:
                return session
            outage = Reconnector(KeepaliveMonitor(self.login), self._session)
            ssh.close(self.login)
            yield from self._reconnect(outage, credentials)
            yield Reconnected(outage.elapsed_s)

    def _reconnect(self, outage: Reconnector, credentials: CredentialPrompter) -> Generator[TunnelEvent]:
        with closing(outage.steps(credentials)) as steps:
            for step in steps:
                if not isinstance(step, Attempt):
                    yield step
                    continue
                with outage.attempt():
                    self.login = connect_to_login_of(self._session, self._settings, credentials)
