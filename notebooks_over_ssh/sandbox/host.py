"""A compute host: an SSH server without a listening port; clients connect through the gateway."""

import asyncio
import logging
import os
import socket
import types
from collections.abc import Mapping

import asyncssh
from asyncssh.constants import OPEN_ADMINISTRATIVELY_PROHIBITED

from notebooks_over_ssh.sandbox.environment import host_environment, shell
from notebooks_over_ssh.sandbox.paths import SandboxPaths
from notebooks_over_ssh.sandbox.process_io import Reaper
from notebooks_over_ssh.sandbox.server_options import AuthorizedKeys, ServerConnection, server_options
from notebooks_over_ssh.sandbox.session import HostSession

_LOOPBACK = {"localhost": ("127.0.0.1", "::1"), "127.0.0.1": ("127.0.0.1",), "::1": ("::1",)}
_SOCKET_BUFFER_BYTES = 1024 * 1024
_log = logging.getLogger(__name__)


class Host:
    """One compute host: its name, its host key, and the environment of its processes."""

    def __init__(
        self,
        name: str,
        paths: SandboxPaths,
        reaper: Reaper,
        host_key: asyncssh.SSHKey,
        authorized_keys: AuthorizedKeys,
        variables: Mapping[str, str] = types.MappingProxyType({}),
    ) -> None:
        """`variables` are further ones of its processes' environment."""
        self.name = name
        self.home = str(paths.home)
        self.reaper = reaper
        self.shell = shell()
        self._paths = paths
        self._variables = variables
        self._connections: set[asyncio.Task[None]] = set()
        self._options = server_options(host_key, authorized_keys, lambda: HostConnection(self))

    def environment(self, requested: Mapping[bytes, bytes]) -> dict[str, str]:
        """The environment of a command. Of the client's variables it accepts TERM, LANG and LC_*."""
        environment = host_environment(self.name, self._paths, self._variables)
        for name, value in requested.items():
            if name in (b"LANG", b"TERM") or name.startswith(b"LC_"):
                environment[os.fsdecode(name)] = os.fsdecode(value)
        return environment

    async def connect(self) -> asyncssh.SSHForwarder:
        """Open a connection to this host's SSH server, and return the forwarder for the client's channel."""
        client_end, server_end = socket.socketpair()
        for end in (client_end, server_end):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
        loop = asyncio.get_running_loop()
        connection = loop.create_task(self.serve(server_end))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        _, bridge = await loop.create_connection(asyncssh.SSHForwarder, sock=client_end)
        return _ChannelForwarder(bridge)

    async def serve(self, sock: socket.socket) -> None:
        """Serve one connection until it is logged in; it goes on without this task."""
        try:
            await asyncssh.run_server(sock, options=self._options)
        except (OSError, asyncssh.Error) as error:
            _log.info("%s: connection closed before login: %s", self.name, type(error).__name__)
        else:
            _log.info("%s: connection", self.name)


class _ChannelForwarder(asyncssh.SSHForwarder):
    """Closes the channel after EOF from both sides, for which `ssh -W` waits, as sshd does.

    asyncssh's own class does not close it if the client's EOF comes last.
    """

    def eof_received(self) -> bool:
        keep_open = super().eof_received()
        if not keep_open:
            self.close()
        return keep_open


class HostConnection(ServerConnection):
    """One connection to a compute host."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def connection_requested(  # type: ignore[override]  # asyncssh accepts an awaitable here
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> asyncssh.SSHForwarder:
        """Forward to a loopback port of the host. Raises asyncssh.ChannelOpenError, also for any other destination."""
        refusal = asyncssh.ChannelOpenError(
            OPEN_ADMINISTRATIVELY_PROHIBITED, f"forwarding to {dest_host} is not allowed"
        )
        for address in _LOOPBACK.get(dest_host.lower(), ()):
            try:
                return await self.connection.forward_connection(address, dest_port)
            except asyncssh.ChannelOpenError as error:
                refusal = error
        raise refusal

    def session_requested(self) -> tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]]:
        """Create a channel for a command, a shell or SFTP."""
        return self.connection.create_server_channel(encoding=None), HostSession(self._host)
