"""Opens the way to a host, hop by hop: the only place where a Connection is made.

There is one Connection to a place in a run, however many tasks run in it.
"""

import atexit
import contextlib
import logging
import math
import socket
import sys
import time
from functools import partial
from typing import Any

import fabric
import paramiko

from fabfile.errors import CannotConnect, Problem
from fabfile.settings import SSH_PORT, Place, Settings
from fabfile.ssh.asking import Asking
from fabfile.ssh.authentication import Login
from fabfile.ssh.failures import FAILURES, too_slow, unreachable
from fabfile.ssh.host_keys import HostKeyPolicy
from fabfile.ssh.proxy_command import ProxyCommand
from fabfile.ssh.route import SANDBOX, Hop, may_come_back, route_to
from fabfile.ssh.transport import Transport
from fabfile.ssh.wire.carrier import Carrier

__all__ = [
    "SANDBOX",
    "SSH_PORT",
    "Connection",
    "Place",
    "also_called",
    "close_all",
    "connect",
    "hops_to",
    "host_key",
    "may_come_back",
]

KEEPALIVE_S = 30
# tcp(7) does not tell it, linux/tcp.h does; Python's socket has it from 3.12 on.
TCP_NOTSENT_LOWAT = 25
UNSENT_BYTES = 256 * 1024

Name = tuple[str | None, str, str, int]
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

    def equip(self, **fields: Any) -> None:
        """Set the fields above: its name in messages, what proves its two ends, how many seconds to wait for either."""
        # Anything else than _set would end up in the configuration, which the hops of a route share.
        self._set(**fields)

    def open(self) -> None:
        """Connect and log in, through the gateway when there is one. Raises a Problem."""
        if self.is_connected:
            return
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
                transport_factory=partial(_transport, self.policy, self.timeout_s),
                auth_strategy=self.login,
                **_transport_settings(self.connect_kwargs),
            )
        except Problem:
            self._give_up()
            raise
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
            reached = socket.create_connection((self.host, self.port), timeout=self.timeout_s)
            reached.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if sys.platform == "linux":
                # Megabytes that wait in the system to be sent are a queue before every keystroke.
                reached.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES)
            return reached
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


def connect(settings: Settings, place: Place, asking: Asking, expected_key: str | None = None) -> Connection:
    """The open Connection to the place through the gateway of the settings, made at the first call of a run.

    `expected_key` is the host key (base64) of the machine that the place must be. Raises a Problem.
    """
    name = _name(settings, place)
    if name not in _open or not _open[name].is_connected:
        connection = _way_in(settings, place, asking, expected_key)
        try:
            connection.open()
        except BaseException:
            _close_with_gateways(connection)
            raise
        _remember(name, connection)
    return _open[name]


def hops_to(
    settings: Settings, place: Place, asking: Asking, expected_key: str | None = None
) -> tuple[Connection, ...]:
    """The Connections of the way to the place, the nearest first, none of them opened yet; the last is of this run."""
    connection = _way_in(settings, place, asking, expected_key)
    _remember(_name(settings, place), connection)
    return _hops(connection)


def also_called(settings: Settings, connection: Connection, place: Place) -> None:
    """Let the place lead to this Connection from now on: it is the member of the pool that answered."""
    _open.setdefault(_name(settings, place), connection)


def close_all() -> None:
    """Close every Connection of this run. It never waits for the network, which may be gone."""
    while _open:
        _, connection = _open.popitem()
        _close_with_gateways(connection)


def host_key(connection: Connection) -> str:
    """The key (base64) by which the host at the far end proved itself."""
    key: str = connection.transport.get_remote_server_key().get_base64()
    return key


def _remember(name: Name, connection: Connection) -> None:
    if not _open:
        atexit.register(close_all)
    _open[name] = connection


def _name(settings: Settings, place: Place) -> Name:
    return settings.gateway, place.user or settings.user or "", place.host, place.port or settings.port or 0


def _close_with_gateways(connection: Connection) -> None:
    # The nearest first: a farther one that says goodbye would wait for a path that takes nothing any more.
    for hop in _hops(connection):
        with contextlib.suppress(*FAILURES):
            hop.close()


def _hops(connection: Connection) -> tuple[Connection, ...]:
    """The Connections of the way, the nearest first."""
    hops = [connection]
    while isinstance(hops[0].gateway, Connection):
        hops.insert(0, hops[0].gateway)
    return tuple(hops)


def _way_in(settings: Settings, place: Place, asking: Asking, expected_key: str | None) -> Connection:
    # What Paramiko warns of reaches the user as a Problem, or not at all.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    route = route_to(place, settings)
    connection: Connection | None = None
    for number, hop in enumerate(route.hops):
        is_host = number == len(route.hops) - 1
        connection = _make(hop, connection, settings, asking, expected_key if is_host else None)
        connection.equip(command="" if number else route.command)
    assert connection is not None, "a route has a host"
    return connection


def _make(
    hop: Hop, gateway: Connection | None, settings: Settings, asking: Asking, expected_key: str | None
) -> Connection:
    config = hop.config
    connection = Connection(
        config.host,
        user=config.user,
        port=config.port,
        gateway=False if gateway is None else gateway,
        # Nothing of the machine's own: all that counts has been read by now, and not by Fabric.
        config=fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig()),
        connect_kwargs={key: value for key, value in settings.connect_kwargs.items() if key in _PASSED_ON},
    )
    pins = settings.notebook.host_keys.get(hop.label, ())
    connection.equip(
        label=hop.label,
        policy=HostKeyPolicy(config, asking, expected=expected_key, pins=pins),
        login=Login(config, hop.label, asking, settings.notebook, gateway=gateway.login if gateway else None),
        timeout_s=_timeout_s(hop, settings),
        alive_interval_s=config.alive_interval_s,
        proxy_command=None,
    )
    # The name that was asked for, where Fabric has what it stands for.
    connection.original_host = hop.label
    return connection


def _timeout_s(hop: Hop, settings: Settings) -> int:
    given = settings.timeouts.connect
    return hop.config.connect_timeout_s or given if given == type(settings.timeouts)().connect else given


def _transport(policy: HostKeyPolicy, timeout_s: int, sock: Any, **kwargs: Any) -> paramiko.Transport:
    transport = Transport(sock, **kwargs)
    options = transport.get_security_options()
    options.key_types = policy.preferred(options.key_types)
    transport.answer_timeout_s = timeout_s
    transport.certificates_first = bool(policy.authorities)
    return transport


_PASSED_ON = ("compress", "disabled_algorithms", "auth_timeout")


def _transport_settings(connect_kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: connect_kwargs[name] for name in _PASSED_ON if name in connect_kwargs}
