"""A Fabric Connection to one hop, which checks the host key and logs in as `ssh` would."""

import hashlib
import json
import math
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import fabric
import paramiko

from notebooks_over_ssh.errors import ConnectError, HostKeyError, UserError
from notebooks_over_ssh.ssh.authentication import LoginStrategy
from notebooks_over_ssh.ssh.client_config import HopConfig
from notebooks_over_ssh.ssh.connect_errors import FAILURES, timeout_error, unreachable_error
from notebooks_over_ssh.ssh.endpoint import Endpoint
from notebooks_over_ssh.ssh.hop_transport import make_transport
from notebooks_over_ssh.ssh.host_keys import WrongMachineError
from notebooks_over_ssh.ssh.mux import master as masters
from notebooks_over_ssh.ssh.mux.login_sockets import use_login
from notebooks_over_ssh.ssh.mux.transport import MuxTransport
from notebooks_over_ssh.ssh.protocol.command_channel import CommandChannel
from notebooks_over_ssh.ssh.protocol.jump_channel import JumpChannel
from notebooks_over_ssh.ssh.protocol.tcp_latency import connect_low_latency
from notebooks_over_ssh.ssh.proxy_command import ProxyCommand

KEEPALIVE_INTERVAL_S = 30


class Connection(fabric.Connection):  # type: ignore[misc] # Fabric has no types
    """The connection to one hop. It rejects unknown host keys, and its errors name the hop that failed."""

    transport: Any
    login: LoginStrategy
    timeout_s: int
    alive_interval_s: int
    _endpoint: Endpoint
    _fallback: Endpoint | None
    _proxy_command: ProxyCommand | None
    _command_channel: CommandChannel | None
    _control_path: Path | None
    _relay: Any

    def __init__(
        self,
        endpoint: Endpoint,
        config: HopConfig,
        *,
        login: LoginStrategy,
        timeout_s: int,
        gateway: "Connection | None" = None,
        fallback: Endpoint | None = None,
        connect_kwargs: Mapping[str, Any],
    ) -> None:
        """`timeout_s` is for each of: TCP connection or channel, identification string, and login without prompts.

        `fallback` is tried when the hop cannot be reached at `endpoint`, or presents a wrong host key there.
        """
        # Fabric takes an unknown attribute for a key of its configuration, unless `_set` has made it one.
        self._set(
            login=login,
            timeout_s=timeout_s,
            alive_interval_s=config.alive_interval_s,
            _endpoint=endpoint,
            _fallback=fallback,
            _proxy_command=None,
            _command_channel=None,
            _control_path=config.control_path,
            _relay=None,
        )
        super().__init__(
            endpoint.host,
            user=config.user,
            port=config.port,
            gateway=False if gateway is None else gateway,
            # An empty configuration: `config` has all that ssh_config(5) and the settings say of the hop.
            config=fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig()),
            connect_kwargs=dict(connect_kwargs),
        )
        self.original_host = endpoint.label

    @property
    def label(self) -> str:
        """The hop's name for messages."""
        return self._endpoint.label

    @property
    def is_connected(self) -> bool:
        """Whether the connection is up, and so is the login of another process that it uses."""
        if not super().is_connected or (
            isinstance(self.transport, MuxTransport) and self.transport.has_ended
        ):
            return False
        gateway = self.gateway
        return not isinstance(gateway, Connection) or gateway.transport is None or gateway.is_connected

    @property
    def command(self) -> str:
        """The ProxyCommand, tokens expanded; "" for none."""
        return self._endpoint.command

    @property
    def port_transport(self) -> Any:
        """Opens channels to ports of the host: the transport, or a relay where sshd forbids forwarding."""
        return self._relay or self.transport

    def give_up_shared_login(self) -> None:
        """Log in, if this uses another process's login, which has no session left for it. Raises a UserError."""
        if isinstance(self.transport, MuxTransport):
            self.transport.close()
            self._log_in()

    def open_ports_through(self, relay: Any) -> None:
        """Open channels to ports of the host through `relay` until the connection is closed."""
        self._relay = relay

    def close_relay(self) -> None:
        """Open channels to ports of the host by the transport again."""
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.close()

    def open(self) -> None:
        """Connect and log in, through the gateway if there is one. Raises a UserError."""
        if self.is_connected or self._use_login():
            return
        if self._control_path is not None and self._endpoint.gateway_command is None:
            self.transport = masters.open_transport(self._control_path, self._endpoint.policy, self.timeout_s)
            if self.transport is not None:
                self.transport.channel_timeout = self.timeout_s
                return
        try:
            self._log_in()
        except (ConnectError, HostKeyError) as error:
            if self._fallback is None or not all(hop.is_connected for hop in hops(self)[:-1]):
                raise
            self._endpoint, self._fallback = self._fallback, None
            self.host = self._endpoint.host
            try:
                self._log_in()
            except UserError as fallback_error:
                if isinstance(error, WrongMachineError):
                    raise fallback_error from error
                raise error from None

    @property
    def login_ids(self) -> tuple[str, ...]:
        """The name of the login on this hop, for processes that share it, and that under the machine's own name."""
        if self._endpoint.gateway_command is not None:
            return ()
        return tuple(self._login_id(endpoint) for endpoint in (self._endpoint, self._fallback) if endpoint)

    def _login_id(self, endpoint: Endpoint) -> str:
        gateway_id = "".join(self.gateway.login_ids[:1]) if isinstance(self.gateway, Connection) else ""
        route = [gateway_id, self.user, endpoint.host, self.port, endpoint.command]
        return hashlib.sha256(json.dumps(route).encode()).hexdigest()[:16]

    def _use_login(self) -> bool:
        """Use the login of another process of this account, if there is one; returns whether."""
        if self._endpoint.gateway_command is not None or type(self) is not Connection:
            return False
        for endpoint in filter(None, (self._endpoint, self._fallback)):
            self.transport = use_login(self._login_id(endpoint), endpoint.policy)
            if self.transport is not None:
                if endpoint is self._fallback:
                    self._endpoint, self._fallback = endpoint, None
                    self.host = endpoint.host
                self.transport.channel_timeout = self.timeout_s
                return True
        return False

    def _log_in(self) -> None:
        policy = self._endpoint.policy
        started_at = math.inf
        try:
            sock = self.open_socket()
            started_at = time.monotonic()
            self.client.set_missing_host_key_policy(policy)
            self.client.connect(
                hostname=self.host,
                port=self.port,
                username=self.user,
                sock=sock,
                timeout=self.timeout_s,
                banner_timeout=self.timeout_s,
                channel_timeout=self.timeout_s,
                transport_factory=partial(make_transport, policy, self.timeout_s),
                auth_strategy=self.login,
                **self.connect_kwargs,
            )
        except FAILURES as error:
            # Paramiko reports an elapsed timeout under many names, some without a type of their own.
            timed_out = isinstance(error, TimeoutError) or time.monotonic() - started_at >= self.timeout_s
            connect_error = self.timeout_error() if timed_out else self._unreachable_error(error)
            if self._proxy_command is not None:
                connect_error.detail = self._proxy_command.stderr_tail()
                connect_error.source = "proxy command"
            elif self._command_channel is not None:
                connect_error.detail = self._command_channel.stderr_tail()
                connect_error.source = self._gateway_label
            self._abort()
            raise connect_error from error
        except BaseException:
            self._abort()
            raise
        self.transport = self.client.get_transport()
        self.transport.set_keepalive(self.alive_interval_s or KEEPALIVE_INTERVAL_S)

    def close(self) -> None:
        """Close the connection, and end its proxy command."""
        if isinstance(self.transport, MuxTransport):
            self.transport.close()
        super().close()
        if self._proxy_command is not None:
            self._proxy_command.close()
            self._proxy_command = None

    def _abort(self) -> None:
        self.client.close()
        self.close()

    def open_socket(self) -> Any:
        """Connect to the hop's port, through the gateway if there is one; sends nothing. Raises a UserError."""
        try:
            if self.command:
                proxy_command = self._proxy_command = ProxyCommand(self.command)
                return proxy_command.socket
            if isinstance(self.gateway, Connection):
                if self._endpoint.gateway_command is None:
                    forward = self.gateway.connect_port_by_master(self.host, self.port)
                    if forward is not None:
                        return forward
                self.gateway.open()
                if self._endpoint.gateway_command is not None:
                    channel = CommandChannel(self.gateway.transport, self._endpoint.gateway_command)
                    self._command_channel = channel
                    channel.connect(self.timeout_s)
                    return channel
                jump_channel = JumpChannel(self.gateway.transport, (self.host, self.port))
                jump_channel.connect(self.timeout_s)
                return jump_channel
            return connect_low_latency(self.host, self.port, self.timeout_s)
        except FAILURES as error:
            # Paramiko raises a plain SSHException when a channel is not opened in time.
            timed_out = isinstance(error, TimeoutError) or str(error).startswith("Timeout opening channel")
            raise (self.timeout_error() if timed_out else self._unreachable_error(error)) from error

    @property
    def has_master(self) -> bool:
        """Whether an OpenSSH master has logged in to the hop, so that no login of our own is needed."""
        return (
            not self.is_connected
            and self._usable_master is not None
            and masters.is_alive(self._usable_master)
        )

    def connect_port_by_master(self, host: str, port: int) -> Any:
        """A connection from this hop to a port, by an OpenSSH master; None without one, or if it cannot be used."""
        if self.is_connected or self._usable_master is None:
            return None
        return masters.connect_port(self._usable_master, host, port, self.timeout_s)

    @property
    def _usable_master(self) -> Path | None:
        # The master has not compared the hop's key with ssh.host_keys.
        return None if self._endpoint.policy.pins else self._control_path

    def timeout_error(self) -> ConnectError:
        """The error for a hop that did not answer within `timeout_s`."""
        error = timeout_error(self.label, self._gateway_label, self.timeout_s)
        if self._endpoint.gateway_command is not None:
            error.hint = f"try again: what leads there from {self._gateway_label} may be busy"
        return error

    def _unreachable_error(self, error: Exception) -> ConnectError:
        return unreachable_error(error, self.label, self._gateway_label, (self.host, self.port))

    @property
    def _gateway_label(self) -> str:
        return self.gateway.label if isinstance(self.gateway, Connection) else ""


def hops(connection: Connection) -> tuple[Connection, ...]:
    """The Connections that the connection runs through, outermost first, then itself."""
    chain = [connection]
    while isinstance(chain[0].gateway, Connection):
        chain.insert(0, chain[0].gateway)
    return tuple(chain)


def host_key(connection: Connection) -> str:
    """The key (base64) with which the host authenticated itself."""
    transport = connection.transport
    if isinstance(transport, MuxTransport):
        return transport.verified_host_key
    return str(transport.get_remote_server_key().get_base64())
