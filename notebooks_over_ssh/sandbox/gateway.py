"""The gateway: an SSH server that accepts the user's key and forwards to the SSH port of the hosts behind it."""

import itertools
import logging
from collections.abc import Mapping, Sequence

import asyncssh
from asyncssh.constants import OPEN_ADMINISTRATIVELY_PROHIBITED, OPEN_CONNECT_FAILED

from notebooks_over_ssh.sandbox.host import Host
from notebooks_over_ssh.sandbox.paths import POOL
from notebooks_over_ssh.sandbox.server_options import ServerConnection

SSH_PORT = 22
_ONLY_FORWARDS = f"this gateway only forwards; connect through it to {POOL}\n"
_log = logging.getLogger(__name__)


class Gateway:
    """State shared by the gateway's connections: the hosts, and the round robin of the pool."""

    def __init__(self, hosts: Mapping[str, Host], pool: Sequence[str]) -> None:
        self._hosts = hosts
        self._pool = itertools.cycle(hosts[name] for name in pool)

    def resolve(self, name: str, port: int) -> Host:
        """The host for a destination.

        Raises asyncssh.ChannelOpenError with OpenSSH's reason: unknown name, connection refused, or
        (for addresses and localhost) administratively prohibited.
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


class GatewayConnection(ServerConnection):
    """One connection to the gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def connection_requested(  # type: ignore[override]  # asyncssh accepts an awaitable here
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> asyncssh.SSHForwarder:
        """Forward to a host behind the gateway. Raises asyncssh.ChannelOpenError."""
        try:
            host = self._gateway.resolve(dest_host, dest_port)
        except asyncssh.ChannelOpenError as error:
            _log.info("gateway: refused: %s", error.reason)
            raise
        return await host.connect()

    def session_requested(self) -> tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]]:
        """Accept the session, so that a message can explain why there is no shell."""
        return self.connection.create_server_channel(encoding=None), _NoShellSession()


class _NoShellSession(asyncssh.SSHServerSession[bytes]):
    """Answers a shell, command or subsystem with a message on stderr and exit code 1."""

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
