"""Connects to a host, hop by hop: the only place where a Connection is made, one for each destination in a run."""

import atexit
import contextlib
import logging
import math
import time
from functools import partial
from typing import Any

import fabric
import paramiko

from notebooks_over_ssh.config.settings import SSH_PORT, Destination, Settings
from notebooks_over_ssh.errors import ConnectError, HostKeyError, UserError
from notebooks_over_ssh.ssh.authentication import LoginStrategy
from notebooks_over_ssh.ssh.connect_errors import FAILURES, timeout_error, unreachable_error
from notebooks_over_ssh.ssh.hop_transport import CONNECT_KWARGS, make_transport
from notebooks_over_ssh.ssh.host_keys import HostKeyPolicy, Machine, WrongMachineError
from notebooks_over_ssh.ssh.jump_chain import ConnectTarget, Hop, Route, resolve_route
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from notebooks_over_ssh.ssh.protocol.jump_channel import JumpChannel
from notebooks_over_ssh.ssh.protocol.tcp_latency import connect_low_latency
from notebooks_over_ssh.ssh.proxy_command import ProxyCommand

__all__ = [
    "SSH_PORT",
    "ConnectTarget",
    "Connection",
    "Destination",
    "Machine",
    "close",
    "close_all",
    "connect",
    "hops",
    "host_key",
    "release",
    "resolve_hops",
]

KEEPALIVE_S = 30

CacheKey = tuple[str | None, str, str, int, Machine | None]
_connections: dict[CacheKey, "Connection"] = {}


class Connection(fabric.Connection):  # type: ignore[misc] # Fabric has no types
    """A Fabric Connection that accepts no host key unseen and tells which hop failed, and how."""

    label: str
    policy: HostKeyPolicy
    login: LoginStrategy
    timeout_s: int
    alive_interval_s: int
    command: str
    proxy_command: ProxyCommand | None
    port_transport: Any
    """What opens channels to ports of the host: the transport, or what stands in its place where the host forbids forwarding."""
    fallback: dict[str, Any] | None
    """The fields that lead to the machine by its own name, for where the destination leads to another."""

    def set_fields(self, **fields: Any) -> None:
        """Set the fields above: its name in messages, what proves its two ends, how many seconds to wait for either."""
        # Anything else than _set would end up in the configuration, which the hops of a route share.
        self._set(**fields)

    def open(self) -> None:
        """Connect and log in, through the gateway when there is one. Raises a UserError."""
        if self.is_connected:
            return
        try:
            self._log_in()
        except (ConnectError, HostKeyError) as error:
            if not self.fallback or not all(hop.is_connected for hop in hops(self)[:-1]):
                raise
            self.set_fields(**self.fallback, fallback=None)
            try:
                self._log_in()
            except UserError as fallback:
                if isinstance(error, WrongMachineError):
                    raise fallback from error
                raise error from None

    def _log_in(self) -> None:
        started_at = math.inf
        try:
            sock = self.open_socket()
            started_at = time.monotonic()
            self.client.set_missing_host_key_policy(self.policy)
            self.client.connect(
                hostname=self.host,
                port=self.port,
                username=self.user,
                sock=sock,
                timeout=self.timeout_s,
                banner_timeout=self.timeout_s,
                channel_timeout=self.timeout_s,
                transport_factory=partial(make_transport, self.policy, self.timeout_s),
                auth_strategy=self.login,
                **self.connect_kwargs,
            )
        except FAILURES as error:
            # Paramiko has many words for the time that was given to it having run out.
            timed_out = isinstance(error, TimeoutError) or time.monotonic() - started_at >= self.timeout_s
            problem = self.timeout_error() if timed_out else self._unreachable_error(error)
            if self.proxy_command is not None:
                problem.detail = self.proxy_command.stderr_tail()
                problem.source = "proxy command"
            self._abort()
            raise problem from error
        except BaseException:
            self._abort()
            raise
        self.transport = self.client.get_transport()
        self.set_fields(port_transport=self.transport)
        self.transport.set_keepalive(self.alive_interval_s or KEEPALIVE_S)

    def close(self) -> None:
        """End the connection, and the command that carried it."""
        super().close()
        if self.proxy_command is not None:
            self.proxy_command.close()
            self.set_fields(proxy_command=None)

    def _abort(self) -> None:
        self.client.close()
        self.close()

    def open_socket(self) -> Any:
        """Connect to the hop without a word said, through the gateway when there is one. Raises a UserError."""
        try:
            if self.command:
                self.set_fields(proxy_command=ProxyCommand(self.command))
                assert self.proxy_command
                return self.proxy_command.socket
            if isinstance(self.gateway, Connection):
                self.gateway.open()
                jump_channel = JumpChannel(self.gateway.transport, (self.host, self.port))
                jump_channel.connect(self.timeout_s)
                return jump_channel
            return connect_low_latency(self.host, self.port, self.timeout_s)
        except FAILURES as error:
            # Paramiko has no type of its own for a channel that nobody opened in time.
            timed_out = isinstance(error, TimeoutError) or str(error).startswith("Timeout opening channel")
            raise (self.timeout_error() if timed_out else self._unreachable_error(error)) from error

    def timeout_error(self) -> ConnectError:
        """The UserError of a hop that did not answer in time."""
        return timeout_error(self.label, self._gateway_label, self.timeout_s)

    def _unreachable_error(self, error: Exception) -> ConnectError:
        return unreachable_error(error, self.label, self._gateway_label, (self.host, self.port))

    @property
    def _gateway_label(self) -> str:
        return self.gateway.label if isinstance(self.gateway, Connection) else ""


def connect(settings: Settings, target: ConnectTarget, credentials: CredentialPrompter) -> Connection:
    """The open Connection to the destination, made at the first call of a run. Raises a UserError."""
    name = _name(settings, target)
    connection = _connections.get(name) or (target.machine and _find_open(target.machine, name))
    if not connection or not connection.is_connected:
        connection = _build_chain(settings, target, credentials)
        try:
            for hop in hops(connection):
                hop.open()
        except BaseException:
            close(connection)
            raise
        _cache(name, connection)
    return connection


def resolve_hops(
    settings: Settings, target: ConnectTarget, credentials: CredentialPrompter
) -> tuple[Connection, ...]:
    """The Connections of the way there, the nearest first, none of them opened yet; the last is of this run."""
    connection = _build_chain(settings, target, credentials)
    _cache(_name(settings, target), connection)
    return hops(connection)


def close_all() -> None:
    """Close every Connection of this run. It never waits for the network, which may be gone."""
    while _connections:
        close(next(iter(_connections.values())))


def release(connection: Connection) -> None:
    """Leave the Connection to the caller, who closes it: the next `connect` to its place makes another."""
    for name in [name for name, known in _connections.items() if known is connection]:
        del _connections[name]


def close(connection: Connection) -> None:
    """Close the Connection and those of its way. It never waits for the network, which may be gone."""
    release(connection)
    # The nearest first: a farther one that says goodbye would wait for a path that takes nothing any more.
    for hop in hops(connection):
        with contextlib.suppress(*FAILURES):
            hop.close()


def host_key(connection: Connection) -> str:
    """The key (base64) by which the host at the far end proved itself."""
    return str(connection.transport.get_remote_server_key().get_base64())


def _cache(name: CacheKey, connection: Connection) -> None:
    if not _connections:
        atexit.register(close_all)
    _connections[name] = connection


def _name(settings: Settings, target: ConnectTarget) -> CacheKey:
    destination = target.destination
    user, port = destination.user or settings.user or "", destination.port or settings.port or 0
    return settings.gateway, user, destination.host, port, target.machine


def _find_open(machine: Machine, name: CacheKey) -> Connection | None:
    """A Connection of this run that leads to the machine already, because a pool led there."""
    gateway, user, *_ = name
    for (other_gateway, *_), known in list(_connections.items()):
        is_same = (other_gateway, known.user) == (gateway, user)
        if is_same and known.is_connected and host_key(known) == machine.host_key:
            return known
    return None


def hops(connection: Connection) -> tuple[Connection, ...]:
    """The Connections of the way, the nearest first."""
    chain = [connection]
    while isinstance(chain[0].gateway, Connection):
        chain.insert(0, chain[0].gateway)
    return tuple(chain)


def _build_chain(settings: Settings, target: ConnectTarget, credentials: CredentialPrompter) -> Connection:
    # What Paramiko warns of reaches the user as a UserError, or not at all.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    route = resolve_route(target, settings)
    connection: Connection | None = None
    for number, hop in enumerate(route.hops):
        connection = _build_connection(hop, connection, settings, credentials)
        connection.set_fields(command="" if number else route.command)
    assert connection is not None, "a route has a host"
    if target.machine is not None:
        _require_machine(target.machine, connection, route, settings)
    return connection


def _require_machine(machine: Machine, connection: Connection, route: Route, settings: Settings) -> None:
    """Have the Connection accept no other machine, and know the machine by its own name too."""
    host, own_route = route.hops[-1], route.with_last_host(machine.name)
    own = own_route.hops[-1]
    policy = partial(HostKeyPolicy, credentials=connection.policy.credentials, machine=machine)
    connection.set_fields(policy=policy(host.config, pins=host.pins(settings)))
    if machine.name.lower() != host.config.host.lower():
        fallback = {
            "host": machine.name,
            "label": machine.name,
            "policy": policy(own.config, requested_hop=host.config, pins=own.pins(settings)),
            "command": own_route.command if len(own_route.hops) == 1 else "",
        }
        connection.set_fields(fallback=fallback)


def _build_connection(
    hop: Hop, gateway: Connection | None, settings: Settings, credentials: CredentialPrompter
) -> Connection:
    config = hop.config
    if not config.may_prompt:
        credentials = credentials.non_interactive()
    connection = Connection(
        config.host,
        user=config.user,
        port=config.port,
        gateway=False if gateway is None else gateway,
        # Nothing of the machine's own: all that counts has been read by now, and not by Fabric.
        config=fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig()),
        connect_kwargs={
            key: settings.connect_kwargs[key] for key in CONNECT_KWARGS & settings.connect_kwargs.keys()
        },
    )
    connection.set_fields(
        label=hop.label,
        policy=HostKeyPolicy(config, credentials, pins=hop.pins(settings)),
        login=LoginStrategy(config, hop.label, credentials, settings.ssh, gateway and gateway.login),
        timeout_s=hop.timeout_s(settings),
        alive_interval_s=config.alive_interval_s,
        proxy_command=None,
        fallback=None,
    )
    # The name that was asked for, where Fabric has what it stands for.
    connection.original_host = hop.label
    return connection
