"""The Connections of one run: one for each destination, shared by all steps and closed at exit."""

import atexit
import contextlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from msgspec.structs import replace

from notebooks_over_ssh.config.settings import SSH_PORT, Settings, parse_destination
from notebooks_over_ssh.ssh.authentication import LoginStrategy
from notebooks_over_ssh.ssh.chain import build_chain, connect_kwargs
from notebooks_over_ssh.ssh.client_config import HopConfig
from notebooks_over_ssh.ssh.connect_errors import FAILURES
from notebooks_over_ssh.ssh.connection import Connection, hops, host_key
from notebooks_over_ssh.ssh.endpoint import Endpoint
from notebooks_over_ssh.ssh.host_keys import HostKeyPolicy, Machine
from notebooks_over_ssh.ssh.jump_chain import ConnectTarget, resolve_hop
from notebooks_over_ssh.ssh.program_connection import ProgramConnection
from notebooks_over_ssh.ssh.prompting import CredentialPrompter, NullPrompter
from notebooks_over_ssh.ssh.protocol.command_channel import HopCommand
from notebooks_over_ssh.ssh.reported_keys import ReportedKeyPolicy
from notebooks_over_ssh.ssh.responsiveness import responds


@dataclass(frozen=True)
class CommandHop:
    """A hop that a command on the gateway leads to, with keys of its own."""

    name: str
    host_key: str
    """The only key (base64) that it may present."""
    key_file: Path
    """The user's private key for it."""
    command: HopCommand
    timeout_s: int
    """How long the command may take, if that is longer than the gateway's timeout."""


@dataclass(frozen=True)
class ProgramHop:
    """A machine on which a program of the gateway runs programs."""

    name: str
    input_prefix: bytes
    """What BOOTSTRAP on the gateway reads first, and starts the program by."""
    refusal: str
    """Why there is no forwarding, for the user to read."""


# Their sockets are closed, so they end at once.
THREADS_TIMEOUT_S = 1.0

CacheKey = tuple[str | None, str, str, int, Machine | None]
_connections: dict[CacheKey, Connection] = {}


def connect(settings: Settings, target: ConnectTarget, credentials: CredentialPrompter) -> Connection:
    """The open Connection to the target; the first call of a run connects. Raises a UserError."""
    key = _cache_key(settings, target)
    connection = _connections.get(key) or (target.machine and _find_open(target.machine, key))
    if not connection or not connection.is_connected:
        built = build_chain(settings, target, credentials)
        connection = _find_login(built, target.machine) or _open(built)
        _cache(key, connection)
    return connection


def connect_through(gateway: Connection, hop: CommandHop, settings: Settings) -> Connection:
    """The open Connection to a hop that a command on the gateway leads to; opened once in a run. Raises a UserError."""
    key = (settings.gateway, gateway.user, hop.name, 0, Machine(hop.name, hop.host_key))
    if connection := _find_behind(gateway, key):
        return connection
    config = HopConfig(
        host=hop.name,
        user=gateway.user,
        port=SSH_PORT,
        identity_files=(hop.key_file,),
        identities_only=True,
        agent="none",
        may_prompt=False,
        login_methods=("publickey",),
    )
    credentials = CredentialPrompter(NullPrompter())
    policy = HostKeyPolicy(config, credentials, machine=Machine(hop.name, hop.host_key))
    connection = Connection(
        Endpoint(hop.name, hop.name, policy, gateway_command=hop.command),
        config,
        login=LoginStrategy(config, hop.name, credentials, settings.ssh, gateway.login, is_host=True),
        timeout_s=max(gateway.timeout_s, hop.timeout_s),
        gateway=gateway,
        connect_kwargs={},
    )
    return _open_behind(connection, key)


def connect_next(
    gateway: Connection,
    host: str,
    reported_keys: Collection[tuple[str, str]],
    settings: Settings,
    *,
    may_prompt: bool,
) -> Connection:
    """The open Connection to a machine whose SSH server the gateway reaches, with the user's own login.

    `reported_keys`, if there are any, are the only host keys that it may present: the type and the base64 of each.
    Opened once in a run. Raises a UserError.
    """
    destination = replace(parse_destination(host, "the node"), user=gateway.user)
    hop = resolve_hop(destination, settings, port=None)
    config = hop.config
    key = (settings.gateway, config.user, host, config.port, Machine(gateway.label, host_key(gateway)))
    if connection := _find_behind(gateway, key):
        return connection
    credentials = gateway.login.credentials
    if not (may_prompt and config.may_prompt):
        credentials = credentials.non_interactive()
    pins = hop.pins(settings)
    policy = (
        ReportedKeyPolicy(config, credentials, reported_keys, pins)
        if reported_keys
        else HostKeyPolicy(config, credentials, pins=pins)
    )
    connection = Connection(
        Endpoint(config.host, hop.label, policy),
        config,
        login=LoginStrategy(config, hop.label, credentials, settings.ssh, gateway.login, is_host=True),
        timeout_s=hop.timeout_s(settings),
        gateway=gateway,
        connect_kwargs=connect_kwargs(settings),
    )
    return _open_behind(connection, key)


def connect_by_program(
    gateway: Connection, hop: ProgramHop, check: Callable[[Connection], None], settings: Settings
) -> Connection:
    """The open Connection to a machine on which a program of the gateway runs programs.

    `check` is called with a new one, and fails if it does not work. Opened once in a run. Raises a UserError.
    """
    key = (settings.gateway, gateway.user, hop.name, 0, Machine(gateway.label, ""))
    if connection := _find_behind(gateway, key):
        return connection
    return _open_behind(ProgramConnection(hop.name, gateway, hop.input_prefix, hop.refusal), key, check)


def _find_behind(gateway: Connection, key: CacheKey) -> Connection | None:
    connection = _connections.get(key)
    return connection if connection and connection.is_connected and connection.gateway is gateway else None


def _open_behind(
    connection: Connection, key: CacheKey, check: Callable[[Connection], None] = lambda connection: None
) -> Connection:
    try:
        connection.open()
        check(connection)
    except BaseException:
        connection.close()
        raise
    _cache(key, connection)
    return connection


def resolve_hops(
    settings: Settings, target: ConnectTarget, credentials: CredentialPrompter
) -> tuple[Connection, ...]:
    """The Connections to the hops of the route, outermost first, none opened; `connect` returns the last of them."""
    connection = build_chain(settings, target, credentials)
    _cache(_cache_key(settings, target), connection)
    return hops(connection)


def close_all() -> None:
    """Close every Connection of this run. Does not wait for the network, which may be down."""
    while _connections:
        close(next(iter(_connections.values())))


def close_unresponsive() -> None:
    """Close the Connections whose server does not answer, so that the next `connect` makes others."""
    for connection in [open for open in _connections.values() if open.is_connected and not responds(open)]:
        close(connection)


def close_at_exit() -> None:
    """Close every Connection, and wait for its threads: Python may crash if one wakes while the interpreter ends."""
    threads = [hop.transport for connection in _connections.values() for hop in hops(connection)]
    close_all()
    deadline = time.monotonic() + THREADS_TIMEOUT_S
    for thread in threads:
        if isinstance(thread, Thread) and thread.ident is not None:
            thread.join(max(0.0, deadline - time.monotonic()))


def release(connection: Connection) -> None:
    """Drop the Connection and those to its gateways from the cache: the caller closes them.

    So the next `connect` makes others.
    """
    chain = hops(connection)
    for key in [key for key, cached in _connections.items() if any(cached is hop for hop in chain)]:
        del _connections[key]


def close(connection: Connection) -> None:
    """Close the Connection and those to its gateways. Does not wait for the network, which may be down."""
    release(connection)
    # Outermost first: an inner transport's disconnect message would wait for an outer one that sends nothing.
    for hop in hops(connection):
        with contextlib.suppress(*FAILURES):
            hop.close()


def close_last(connection: Connection) -> None:
    """Close the Connection, but not those to its gateways. Does not wait for the network."""
    release(connection)
    with contextlib.suppress(*FAILURES):
        connection.close()


def _open(connection: Connection) -> Connection:
    try:
        connection.open()
    except BaseException:
        close(connection)
        raise
    return connection


def _cache(key: CacheKey, connection: Connection) -> None:
    if not _connections:
        atexit.register(close_at_exit)
    _connections[key] = connection


def _cache_key(settings: Settings, target: ConnectTarget) -> CacheKey:
    destination = target.destination
    user, port = destination.user or settings.user or "", destination.port or settings.port or 0
    return settings.gateway, user, destination.host, port, target.machine


def _find_open(machine: Machine, key: CacheKey) -> Connection | None:
    """An open Connection to the machine under another name, such as that of a pool."""
    gateway, user, *_ = key
    for (other_gateway, *_), cached in list(_connections.items()):
        is_same = (other_gateway, cached.user) == (gateway, user) and not isinstance(
            cached, ProgramConnection
        )
        if is_same and cached.is_connected and host_key(cached) == machine.host_key:
            return cached
    return None


def _find_login(connection: Connection, machine: Machine | None) -> Connection | None:
    """An open Connection by the same route to the machine, for which the user, host or port was named otherwise."""
    for cached in list(_connections.values()):
        if (
            type(cached) is Connection
            and cached.is_connected
            and not set(cached.login_ids).isdisjoint(connection.login_ids)
            and (machine is None or host_key(cached) == machine.host_key)
        ):
            return cached
    return None
