"""A machine on which a program of the gateway runs programs, such as srun: there is no SSH server to log in to.

Sessions (RFC 4254, section 6) are those of the gateway, whose command first starts that program. Connections to ports
of the machine are left to a relay, which is a program too.
"""

from typing import Any

import paramiko
from paramiko.common import OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

from notebooks_over_ssh.config.settings import SSH_PORT
from notebooks_over_ssh.ssh.client_config import HopConfig
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.endpoint import Endpoint
from notebooks_over_ssh.ssh.host_keys import HostKeyPolicy
from notebooks_over_ssh.ssh.protocol.channel import SESSION, Channel


class ProgramTransport:
    """The gateway's transport, limited to sessions: a port that it opened would be one of the gateway."""

    def __init__(self, gateway: Any, input_prefix: bytes, refusal: str) -> None:
        self.input_prefix = input_prefix
        self.packetizer = gateway.packetizer
        self.path_estimate = gateway.path_estimate
        self.max_data_bytes = gateway.max_data_bytes
        self.send_keepalive = gateway.send_keepalive
        self.sessions_ahead = gateway.sessions_ahead
        self._gateway = gateway
        self._refusal = refusal
        self._is_closed = False

    @property
    def active(self) -> bool:
        """Whether sessions can be opened."""
        return not self._is_closed and bool(self._gateway.is_active())

    def is_active(self) -> bool:
        """As `active`."""
        return self.active

    def close(self) -> None:
        """Open no more sessions; the gateway's transport stays open."""
        self._is_closed = True

    def open_session(self) -> paramiko.Channel:
        """Open a session of the gateway. Raises SSHException."""
        session: paramiko.Channel = self._gateway.open_session()
        return session

    def add(self, channel: Channel) -> None:
        """Register the channel and assign its number. Raises ChannelException if it is for a port, SSHException."""
        if channel.channel_type != SESSION:
            raise paramiko.ChannelException(OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED, self._refusal)
        self._gateway.add(channel)

    def remove(self, channel: Channel) -> None:
        """Unregister the channel."""
        self._gateway.remove(channel)

    def _send_user_message(self, message: paramiko.Message) -> None:
        self._gateway._send_user_message(message)


class ProgramConnection(Connection):
    """The connection to such a machine. `open` opens only the gateway."""

    _input_prefix: bytes
    _refusal: str

    def __init__(self, name: str, gateway: Connection, input_prefix: bytes, refusal: str) -> None:
        """`input_prefix` is what BOOTSTRAP on the gateway reads first, and starts the program by.

        `refusal` is why there is no forwarding, for the user to read.
        """
        config = HopConfig(host=name, user=gateway.user, port=SSH_PORT)
        super().__init__(
            Endpoint(name, name, HostKeyPolicy(config, gateway.login.credentials)),
            config,
            login=gateway.login,
            timeout_s=gateway.timeout_s,
            gateway=gateway,
            connect_kwargs={},
        )
        self._set(_input_prefix=input_prefix, _refusal=refusal)

    def _log_in(self) -> None:
        self.gateway.open()
        self.transport = ProgramTransport(self.gateway.transport, self._input_prefix, self._refusal)

    def close(self) -> None:
        """End the relay, if there is one. The gateway stays open."""
        if self._relay is not None:
            self._relay.close()
        if self.transport is not None:
            self.transport.close()
        super().close()
