"""Opens the way to a host, hop by hop: the only place where a Connection is made.

There is one Connection to a place in a run, however many tasks run in it.
"""

import atexit
import contextlib
import logging
import math
import time
from functools import partial
from typing import Any

import fabric
import paramiko

from notebooks_over_ssh.config.settings import SSH_PORT, Place, Settings
from notebooks_over_ssh.errors import CannotConnect, HostKeyRefused, Problem
from notebooks_over_ssh.ssh.authentication import Login
from notebooks_over_ssh.ssh.connect_errors import FAILURES, too_slow, unreachable
from notebooks_over_ssh.ssh.hop_transport import PASSED_ON, transport_to
from notebooks_over_ssh.ssh.host_keys import AnotherMachine, HostKeyPolicy, Machine
from notebooks_over_ssh.ssh.jump_chain import Destination, Hop, Route, route_to
from notebooks_over_ssh.ssh.prompting import Asking
from notebooks_over_ssh.ssh.protocol.jump_channel import Carrier
from notebooks_over_ssh.ssh.protocol.tcp_latency import prompt_socket
from notebooks_over_ssh.ssh.proxy_command import ProxyCommand

__all__ = [
    "SSH_PORT",
    "Connection",
    "Destination",
    "Machine",
    "Place",
    "close",
    "close_all",
    "connect",
    "hops",
    "hops_to",
    "host_key",
    "release",
]

KEEPALIVE_S = 30

Name = tuple[str | None, str, str, int, Machine | None]
_open: dict[Name, "Connection"] = {}


class Connection(fabric.Connection):  # type: ignore[misc] # Fabric has no types
    """A Fabric Connection that accepts no host key unseen and tells which hop failed, and how."""

    label: str
    policy: HostKeyPolicy
    login: Login
    timeout_s: int
    alive_interval_s: int
    command: str
    proxy_command: ProxyCommand | None
    port_transport: Any
    """What opens channels to ports of the host: the transport, or what stands in its place where the host forbids forwarding."""
    by_own_name: dict[str, Any] | None
    """The fields that lead to the machine by its own name, for where the destination leads to another."""

    def equip(self, **fields: Any) -> None:
        """Set the fields above: its name in messages, what proves its two ends, how many seconds to wait for either."""
        # Anything else than _set would end up in the configuration, which the hops of a route share.
        self._set(**fields)

    def open(self) -> None:
        """Connect and log in, through the gateway when there is one. Raises a Problem."""
        if self.is_connected:
            return
        try:
            self._log_in()
        except (CannotConnect, HostKeyRefused) as problem:
            if not self.by_own_name or not all(hop.is_connected for hop in hops(self)[:-1]):
                raise
            self.equip(**self.by_own_name, by_own_name=None)
            try:
                self._log_in()
            except Problem as by_own_name:
                if isinstance(problem, AnotherMachine):
                    raise by_own_name from problem
                raise problem from None

    def _log_in(self) -> None:
        began = math.inf
        try:
            reached = self.reach()
            began = time.monotonic()
            self.client.set_missing_host_key_policy(self.policy)
            self.client.connect(
                hostname=self.host,
                port=self.port,
                username=self.user,
                sock=reached,
                timeout=self.timeout_s,
                banner_timeout=self.timeout_s,
                channel_timeout=self.timeout_s,
                transport_factory=partial(transport_to, self.policy, self.timeout_s),
                auth_strategy=self.login,
                **self.connect_kwargs,
            )
        except FAILURES as error:
            # Paramiko has many words for the time that was given to it having run out.
            timed_out = isinstance(error, TimeoutError) or time.monotonic() - began >= self.timeout_s
            problem = self.too_slow() if timed_out else self._unreachable(error)
            if self.proxy_command is not None:
                problem.detail = self.proxy_command.said()
                problem.source = "proxy command"
            self._give_up()
            raise problem from error
        except BaseException:
            self._give_up()
            raise
        self.transport = self.client.get_transport()
        self.equip(port_transport=self.transport)
        self.transport.set_keepalive(self.alive_interval_s or KEEPALIVE_S)

    def close(self) -> None:
        """End the connection, and the command that carried it."""
        super().close()
        if self.proxy_command is not None:
            self.proxy_command.close()
            self.equip(proxy_command=None)

    def _give_up(self) -> None:
        self.client.close()
        self.close()

    def reach(self) -> Any:
        """Connect to the hop without a word said, through the gateway when there is one. Raises a Problem."""
        try:
            return self._reach()
        except FAILURES as error:
            # Paramiko has no type of its own for a channel that nobody opened in time.
            timed_out = isinstance(error, TimeoutError) or str(error).startswith("Timeout opening channel")
            raise (self.too_slow() if timed_out else self._unreachable(error)) from error

    def _reach(self) -> Any:
        if self.command:
            self.equip(proxy_command=ProxyCommand(self.command))
            assert self.proxy_command
            return self.proxy_command.socket
        if not isinstance(self.gateway, Connection):
            return prompt_socket(self.host, self.port, self.timeout_s)
        self.gateway.open()
        carrier = Carrier(self.gateway.transport, (self.host, self.port))
        carrier.connect(self.timeout_s)
        return carrier

    def too_slow(self) -> CannotConnect:
        """The Problem of a hop that did not answer in time."""
        return too_slow(self.label, self._gateway_label, self.timeout_s)

    def _unreachable(self, error: Exception) -> CannotConnect:
        return unreachable(error, self.label, self._gateway_label, (self.host, self.port))

    @property
    def _gateway_label(self) -> str:
        return self.gateway.label if isinstance(self.gateway, Connection) else ""


def connect(settings: Settings, destination: Destination, asking: Asking) -> Connection:
    """The open Connection to the destination, made at the first call of a run. Raises a Problem."""
    name = _name(settings, destination)
    connection = _open.get(name) or (destination.machine and _open_to(destination.machine, name))
    if not connection or not connection.is_connected:
        connection = _way_in(settings, destination, asking)
        try:
            connection.open()
        except BaseException:
            close(connection)
            raise
        _remember(name, connection)
    return connection


def hops_to(settings: Settings, destination: Destination, asking: Asking) -> tuple[Connection, ...]:
    """The Connections of the way there, the nearest first, none of them opened yet; the last is of this run."""
    connection = _way_in(settings, destination, asking)
    _remember(_name(settings, destination), connection)
    return hops(connection)


def close_all() -> None:
    """Close every Connection of this run. It never waits for the network, which may be gone."""
    while _open:
        close(next(iter(_open.values())))


def release(connection: Connection) -> None:
    """Leave the Connection to the caller, who closes it: the next `connect` to its place makes another."""
    for name in [name for name, known in _open.items() if known is connection]:
        del _open[name]


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


def _remember(name: Name, connection: Connection) -> None:
    if not _open:
        atexit.register(close_all)
    _open[name] = connection


def _name(settings: Settings, destination: Destination) -> Name:
    place = destination.place
    user, port = place.user or settings.user or "", place.port or settings.port or 0
    return settings.gateway, user, place.host, port, destination.machine


def _open_to(machine: Machine, name: Name) -> Connection | None:
    """A Connection of this run that leads to the machine already, because a pool led there."""
    gateway, user, *_ = name
    same_way = (known for (way, *_), known in list(_open.items()) if (way, known.user) == (gateway, user))
    fitting = (known for known in same_way if known.is_connected and host_key(known) == machine.host_key)
    return next(fitting, None)


def hops(connection: Connection) -> tuple[Connection, ...]:
    """The Connections of the way, the nearest first."""
    way = [connection]
    while isinstance(way[0].gateway, Connection):
        way.insert(0, way[0].gateway)
    return tuple(way)


def _way_in(settings: Settings, destination: Destination, asking: Asking) -> Connection:
    # What Paramiko warns of reaches the user as a Problem, or not at all.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    route = route_to(destination, settings)
    connection: Connection | None = None
    for number, hop in enumerate(route.hops):
        connection = _make(hop, connection, settings, asking)
        connection.equip(command="" if number else route.command)
    assert connection is not None, "a route has a host"
    if destination.machine is not None:
        _lead_to(destination.machine, connection, route, settings)
    return connection


def _lead_to(machine: Machine, connection: Connection, route: Route, settings: Settings) -> None:
    """Have the Connection accept no other machine, and know the machine by its own name too."""
    host, own = route.hops[-1], route.ending_at(machine.name)
    policy = partial(HostKeyPolicy, asking=connection.policy.asking, machine=machine)
    connection.equip(policy=policy(host.config, pins=host.pins(settings)))
    if machine.name.lower() != host.config.host.lower():
        by_own_name = {
            "host": machine.name,
            "label": machine.name,
            "policy": policy(own.hops[-1].config, destination=host.config, pins=own.hops[-1].pins(settings)),
            "command": own.command if len(own.hops) == 1 else "",
        }
        connection.equip(by_own_name=by_own_name)


def _make(hop: Hop, gateway: Connection | None, settings: Settings, asking: Asking) -> Connection:
    config = hop.config
    if not config.asks:
        asking = asking.alone()
    connection = Connection(
        config.host,
        user=config.user,
        port=config.port,
        gateway=False if gateway is None else gateway,
        # Nothing of the machine's own: all that counts has been read by now, and not by Fabric.
        config=fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig()),
        connect_kwargs={key: value for key, value in settings.connect_kwargs.items() if key in PASSED_ON},
    )
    connection.equip(
        label=hop.label,
        policy=HostKeyPolicy(config, asking, pins=hop.pins(settings)),
        login=Login(config, hop.label, asking, settings.ssh, gateway=gateway.login if gateway else None),
        timeout_s=hop.timeout_s(settings),
        alive_interval_s=config.alive_interval_s,
        proxy_command=None,
        by_own_name=None,
    )
    # The name that was asked for, where Fabric has what it stands for.
    connection.original_host = hop.label
    return connection
