"""The options and the base class of all SSH servers in the sandbox."""

from collections.abc import Callable

import asyncssh
from asyncssh.auth_keys import SSHAuthorizedKeys as AuthorizedKeys

__all__ = ["AuthorizedKeys", "ServerConnection", "server_options"]


class ServerConnection(asyncssh.SSHServer):
    """A client's connection, which creates the channels."""

    connection: asyncssh.SSHServerConnection

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Store the connection."""
        self.connection = conn


def server_options(
    key: asyncssh.SSHKey, authorized_keys: AuthorizedKeys, server: Callable[[], asyncssh.SSHServer]
) -> asyncssh.SSHServerConnectionOptions:
    """Options of a server with one host key, which accepts one user key under any user name, and nothing else."""
    return asyncssh.SSHServerConnectionOptions(
        config=None,
        server_factory=server,
        server_host_keys=[key],
        authorized_client_keys=authorized_keys,
        public_key_auth=True,
        password_auth=False,
        kbdint_auth=False,
        host_based_auth=False,
        gss_auth=False,
        gss_kex=False,
        # By default asyncssh looks up this machine's full host name, which can take seconds.
        gss_host=None,
        agent_forwarding=False,
        x11_forwarding=False,
        line_editor=False,
        encoding=None,
        rdns_lookup=False,
    )
