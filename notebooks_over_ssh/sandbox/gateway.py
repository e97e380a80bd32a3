"""The gateway: it lets the user's key in, and only forwards, to the SSH port of the hosts behind it."""

import itertools
import logging
from collections.abc import Mapping

import asyncssh
from asyncssh.constants import OPEN_ADMINISTRATIVELY_PROHIBITED, OPEN_CONNECT_FAILED

from notebooks_over_ssh.sandbox.host import Host
from notebooks_over_ssh.sandbox.paths import POOL

SSH_PORT = 22
_ONLY_FORWARDS = f"this gateway only forwards; connect through it to {POOL}\n"
_log = logging.getLogger(__name__)


class Gateway:
    """What the gateway's connections share: the hosts, and whose turn it is in the pool."""

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self._hosts = hosts
        self._pool = itertools.cycle(hosts.values())

    def resolve(self, name: str, port: int) -> Host:
        """The host that answers at a destination.

        Raises asyncssh.ChannelOpenError with the reason that OpenSSH gives: no such name, nothing listening
        there, or (addresses, this machine) not allowed.
        """
        name = name.lower()
        if name != POOL and name not in self._hosts:
            if name == "localhost" or ":" in name or name.replace(".", "").isdigit():
                raise asyncssh.ChannelOpenError(
                    OPEN_ADMINISTRATIVELY_PROHIBITED, f"forwarding to {name} is not allowed"
                )
            raise asyncssh.ChannelOpenError(OPEN_CONNECT_FAILED, f"{name}: Name or service not known")
        if port != SSH_PORT:
            raise asyncssh.ChannelOpenError(OPEN_CONNECT_FAILED, f"{name} port {port}: Connection refused")
        return next(self._pool) if name == POOL else self._hosts[name]


class GatewayConnection(asyncssh.SSHServer):
    """One connection to the gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Keep the connection, which makes its channels."""
        self._connection = conn

    async def connection_requested(  # type: ignore[override]  # asyncssh takes an awaitable here as well
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> asyncssh.SSHForwarder:
        """Forward to a host behind the gateway, or refuse as a gateway does."""
        try:
            host = self._gateway.resolve(dest_host, dest_port)
        except asyncssh.ChannelOpenError as refusal:
            _log.info("gateway: refused: %s", refusal.reason)
            raise
        return await host.connect()

    def session_requested(self) -> tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]]:
        """Take a session, only to say why there is none."""
        assert self._connection is not None
        return self._connection.create_server_channel(encoding=None), _NoShellSession()


class _NoShellSession(asyncssh.SSHServerSession[bytes]):
    """Answers every shell, command and subsystem with a sentence and exit code 1."""

    _channel: asyncssh.SSHServerChannel[bytes]

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Mapping[int, int]
    ) -> bool:
        return False

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        return True

    def session_started(self) -> None:
        self._channel.write_stderr(_ONLY_FORWARDS.encode())
        self._channel.exit(1)
