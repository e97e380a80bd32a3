"""Opens the way to a host, hop by hop: the only place where a Connection is made.

There is one Connection to a place in a run, however many tasks run in it.
"""

import atexit
import getpass
import logging
import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import fabric
import paramiko
from paramiko.common import OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

from fabfile.errors import CannotConnect, Problem
from fabfile.settings import Place, Settings, parse_place
from fabfile.ssh.asking import Asking
from fabfile.ssh.authentication import Keys, Login
from fabfile.ssh.host_keys import HostKeyPolicy

SANDBOX = "sandbox"
SSH_PORT = 22
# AES-GCM needs no separate MAC and runs in hardware; Paramiko would offer it last.
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
KEEPALIVE_S = 30

_open: dict[tuple[str | None, str, str, int], "Connection"] = {}


@dataclass(frozen=True)
class Proof:
    """What proves the two ends of a hop to each other."""

    policy: HostKeyPolicy
    login: Login


class Connection(fabric.Connection):  # type: ignore[misc] # Fabric has no types
    """A Fabric Connection that accepts no host key unseen and tells which hop failed, and how."""

    proof: Proof
    label: str
    timeout_s: int

    def equip(self, label: str, proof: Proof, timeout_s: int) -> None:
        """Give it its name in messages, what proves its two ends, and how many seconds to wait for either."""
        # Anything else than _set would end up in the configuration, which the hops of a route share.
        self._set(label=label, proof=proof, timeout_s=timeout_s)

    def open(self) -> None:
        """Connect and log in, through the gateway when there is one. Raises a Problem."""
        if self.is_connected:
            return
        try:
            self.client.set_missing_host_key_policy(self.proof.policy)
            self.client.connect(
                hostname=self.host,
                port=self.port,
                username=self.user,
                sock=self._reach(),
                timeout=self.timeout_s,
                banner_timeout=self.timeout_s,
                channel_timeout=self.timeout_s,
                transport_factory=partial(_transport, self.proof.policy),
                auth_strategy=self.proof.login,
                **_transport_settings(self.connect_kwargs),
            )
        except Problem:
            self.client.close()
            raise
        except (TimeoutError, OSError, EOFError, paramiko.SSHException) as error:
            self.client.close()
            raise self._unreachable(error) from error
        self.transport = self.client.get_transport()
        self.transport.set_keepalive(KEEPALIVE_S)

    def _reach(self) -> Any:
        if isinstance(self.gateway, str):
            return self.open_gateway()
        if not isinstance(self.gateway, Connection):
            reached = socket.create_connection((self.host, self.port), timeout=self.timeout_s)
            reached.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return reached
        self.gateway.open()
        return self.gateway.transport.open_channel(
            "direct-tcpip", (self.host, self.port), ("127.0.0.1", 0), timeout=self.timeout_s
        )

    def _unreachable(self, error: Exception) -> CannotConnect:
        through = f" through {self.gateway.label}" if isinstance(self.gateway, Connection) else ""
        where = f"{self.label}{through}"
        if isinstance(error, socket.gaierror):
            return CannotConnect(f"there is no host called {self.host}", hint="check the name in invoke.yaml")
        if isinstance(error, paramiko.ChannelException):
            if error.code == OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED:
                return CannotConnect(
                    f"{self.gateway.label} does not let you through to {self.label}: {error.text}",
                    hint="check the name of the host; your site says which hosts its gateway leads to",
                )
            return CannotConnect(
                f"{self.gateway.label} cannot reach {self.label}: {error.text}",
                hint="the host may be down or its name wrong: try another with --host",
            )
        if isinstance(error, ConnectionRefusedError):
            return CannotConnect(
                f"{where} refused the connection on port {self.port}", hint="check the name and the port"
            )
        if (
            isinstance(error, TimeoutError)
            or "timed out" in str(error).lower()
            or "timeout" in str(error).lower()
        ):
            return CannotConnect(
                f"{where} did not answer within {self.timeout_s} s",
                hint="check that you are online, and whether your site wants its VPN; -t SECONDS waits longer",
            )
        return CannotConnect(
            f"the connection to {where} failed: {error or type(error).__name__}",
            hint="try again; when it stays so, try plain ssh to the same host and compare",
        )


def connect(settings: Settings, place: Place, asking: Asking, expected_key: str | None = None) -> Connection:
    """The open Connection to the place through the gateway of the settings, made at the first call of a run.

    `expected_key` is the host key (base64) of the machine that the place must be. Raises a Problem.
    """
    name = _name(settings, place)
    if name not in _open or not _open[name].is_connected:
        if not _open:
            atexit.register(close_all)
            # What Paramiko warns of reaches the user as a Problem, or not at all.
            logging.getLogger("paramiko").addHandler(logging.NullHandler())
        connection = _way_in(settings, place, asking, expected_key)
        connection.open()
        _open[name] = connection
    return _open[name]


def also_called(settings: Settings, connection: Connection, place: Place) -> None:
    """Let the place lead to this Connection from now on: it is the member of the pool that answered."""
    _open.setdefault(_name(settings, place), connection)


def _name(settings: Settings, place: Place) -> tuple[str | None, str, str, int]:
    return settings.gateway, place.user or settings.user or "", place.host, place.port or settings.port or 0


def close_all() -> None:
    """Close every Connection of this run, the farthest first."""
    while _open:
        _, connection = _open.popitem()
        connection.close()
        while isinstance(connection.gateway, Connection):
            connection = connection.gateway
            connection.close()


def host_key(connection: Connection) -> str:
    """The key (base64) by which the host at the far end proved itself."""
    key: str = connection.transport.get_remote_server_key().get_base64()
    return key


def _way_in(settings: Settings, place: Place, asking: Asking, expected_key: str | None) -> Connection:
    if settings.gateway == SANDBOX:
        return _into_the_sandbox(settings, place, asking)
    config = _fabric_config(settings)
    make = partial(_hop, settings, config, asking)
    gateway: Connection | str | None = None
    route = settings.gateway or _route_of(config, place.host)
    if route and " " in route:
        gateway = route
    elif route:
        for hop in route.split(","):
            gateway = make(parse_place(hop, "gateway"), gateway, port=None)
    return make(place, gateway, port=settings.port, expected_key=expected_key)


def _route_of(config: Any, host: str) -> str | None:
    """The ProxyJump or ProxyCommand that ssh_config(5) gives for the host."""
    found = config.base_ssh_config.lookup(host)
    jump: str = found.get("proxyjump", "none")
    command: str = found.get("proxycommand", "none")
    route = jump if jump.lower() != "none" else command
    return None if route.lower() == "none" else route


def _hop(
    settings: Settings,
    config: Any,
    asking: Asking,
    place: Place,
    gateway: Connection | str | None,
    *,
    port: int | None,
    expected_key: str | None = None,
) -> Connection:
    connection = Connection(
        place.host,
        user=place.user,
        port=place.port or port,
        gateway=False if gateway is None else gateway,
        config=config,
    )
    files = connection.ssh_config.get("identityfile", [])
    given = settings.connect_kwargs.get("key_filename", [])
    keys = Keys(
        files=tuple(Path(file).expanduser() for file in [*given, *files]),
        from_agent=settings.connect_kwargs.get("allow_agent", True),
        from_home=settings.connect_kwargs.get("look_for_keys", True) and not files,
    )
    known_hosts = (Path.home() / ".ssh" / "known_hosts", Path("/etc/ssh/ssh_known_hosts"))
    _equip(connection, place.host, keys, known_hosts, asking, settings.timeouts.connect, expected_key)
    return connection


def _equip(
    connection: Connection,
    label: str,
    keys: Keys,
    known_hosts: tuple[Path, ...],
    asking: Asking,
    timeout_s: int,
    expected_key: str | None = None,
) -> None:
    name = connection.host if connection.port == SSH_PORT else f"[{connection.host}]:{connection.port}"
    policy = HostKeyPolicy(name, known_hosts, asking, expected_key)
    connection.equip(label, Proof(policy, Login(connection.user, label, keys, asking)), timeout_s)


def _into_the_sandbox(settings: Settings, place: Place, asking: Asking) -> Connection:
    from fabfile import sandbox

    network = sandbox.ensure_running()
    config = fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig())
    keys = Keys(files=(Path(network.client_key),), from_agent=False, from_home=False)
    known_hosts = (Path(network.known_hosts),)
    user = place.user or settings.user or getpass.getuser()
    gateway = Connection("127.0.0.1", user=user, port=network.gateway_port, gateway=False, config=config)
    _equip(gateway, SANDBOX, keys, known_hosts, asking, settings.timeouts.connect)
    host = Connection(place.host, user=user, port=place.port or SSH_PORT, gateway=gateway, config=config)
    _equip(host, place.host, keys, known_hosts, asking, settings.timeouts.connect)
    return host


def _fabric_config(settings: Settings) -> Any:
    """A Fabric Config with our settings and the ssh_config files that they allow, and nothing else."""
    overrides: dict[str, Any] = {"user": settings.user} if settings.user else {}
    overrides["load_ssh_configs"] = settings.load_ssh_configs
    config = fabric.Config(lazy=True, overrides=overrides, runtime_ssh_path=settings.ssh_config_path)
    config.merge()
    config.load_ssh_config()
    return config


def _transport(policy: HostKeyPolicy, sock: Any, **kwargs: Any) -> paramiko.Transport:
    transport = paramiko.Transport(sock, **kwargs)
    options = transport.get_security_options()
    options.ciphers = tuple(sorted(options.ciphers, key=lambda cipher: cipher not in CIPHERS))
    options.key_types = policy.preferred(options.key_types)
    return transport


def _transport_settings(connect_kwargs: dict[str, Any]) -> dict[str, Any]:
    passed_on = ("compress", "disabled_algorithms", "auth_timeout")
    return {name: connect_kwargs[name] for name in passed_on if name in connect_kwargs}
