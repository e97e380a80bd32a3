"""The way to a host: its hops, from the one nearest to us to the host itself, and what is known of each."""

from dataclasses import dataclass, replace
from pathlib import Path

from notebooks_over_ssh.config.settings import SSH_PORT, Destination, Settings, parse_destination
from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.ssh.client_config import HopConfig, lookup
from notebooks_over_ssh.ssh.host_keys import Machine
from notebooks_over_ssh.ssh.tokens import TokenContext, expand_tokens

MAX_HOPS = 8


@dataclass(frozen=True)
class Hop:
    """One machine on the way: what it is called in messages, and how to log in there."""

    label: str
    config: HopConfig

    def matches(self, name: str) -> bool:
        """Whether it is this hop that is meant: by the name that was asked for, or by its HostName, in any case."""
        return name.lower() in (self.label.lower(), self.config.host.lower())

    def pins(self, settings: Settings) -> list[list[str]]:
        """The fingerprints that the settings give for the hop, under each of its names."""
        return [pins for name, pins in settings.ssh.host_keys.items() if self.matches(name)]

    def timeout_s(self, settings: Settings) -> int:
        """How many seconds it may take to answer: ConnectTimeout, unless the settings say something else."""
        key_files = settings.timeouts.connect
        return (
            self.config.connect_timeout_s or key_files
            if key_files == type(settings.timeouts)().connect
            else key_files
        )


@dataclass(frozen=True)
class ConnectTarget:
    """Where a connection is to lead."""

    destination: Destination
    machine: Machine | None = None
    """The one machine that the place must lead to. Where it leads to another (it is a pool), or nowhere, the machine is
    sought by its own name, on the same way and with the same login."""
    gateway: Hop | None = None
    """What stands in for the gateway of the settings. OpenSSH's configuration counts neither for it nor for the hosts behind it,
    which accept the same login and are in the same known_hosts."""


@dataclass(frozen=True)
class Route:
    """The hops, the host last. `proxy_command` leads to the first of them, its tokens not filled in; "" for none."""

    hops: tuple[Hop, ...]
    proxy_command: str = ""

    @property
    def command(self) -> str:
        """The ProxyCommand with its tokens filled in; "" for none."""
        first = self.hops[0]
        context = TokenContext(
            original_host=first.label, host=first.config.host, port=first.config.port, user=first.config.user
        )
        return expand_tokens(self.proxy_command, context)

    def with_last_host(self, host_name: str) -> "Route":
        """The same way, with the same login, to another HostName at its end."""
        *earlier, last = self.hops
        host = replace(last, config=replace(last.config, host=host_name))
        return replace(self, hops=(*earlier, host))


def resolve_route(target: ConnectTarget, settings: Settings) -> Route:
    """The way there through its gateway or that of the settings, else as OpenSSH's configuration has it.

    Raises ConfigError or TaskError.
    """
    destination, gateway = target.destination, target.gateway
    route = (
        _resolve_route(destination, settings)
        if gateway is None
        else _through_gateway(gateway, destination, settings)
    )
    _check_pins(route, settings)
    return route


def _check_pins(route: Route, settings: Settings) -> None:
    """Raise ConfigError for a host key that is pinned to no hop: a name that is mistyped would protect nothing.

    The host and the gateway of the settings count too where the way is another one.
    """
    configured = [settings.notebook.host]
    if settings.gateway and " " not in settings.gateway:
        configured += settings.gateway.split(",")
    known_names = {parse_destination(destination, "the host").host.lower() for destination in configured}
    for name in settings.ssh.host_keys:
        if name.lower() not in known_names and not any(hop.matches(name) for hop in route.hops):
            raise ConfigError(
                f"ssh.host_keys has keys for {name}, which is no hop on the way to {route.hops[-1].label}",
                hint=f"name one of {', '.join(hop.label for hop in route.hops)}",
            )


def _resolve_route(destination: Destination, settings: Settings) -> Route:
    host = _hop(destination, settings, port=settings.port)
    if settings.gateway is None:
        return _route_from_config(host, settings, MAX_HOPS)
    if " " in settings.gateway:
        return Route((host,), settings.gateway)
    earlier = _resolve_jumps(settings.gateway, settings, MAX_HOPS)
    return Route((*earlier.hops, host), earlier.proxy_command)


def _route_from_config(hop: Hop, settings: Settings, max_hops: int) -> Route:
    """The way to a hop as OpenSSH's configuration has it: ProxyJump, ProxyCommand or straight."""
    if hop.config.proxy_jump:
        earlier = _resolve_jumps(hop.config.proxy_jump, settings, max_hops)
        return Route((*earlier.hops, hop), earlier.proxy_command)
    return Route((hop,), hop.config.proxy_command or "")


def _resolve_jumps(jumps: str, settings: Settings, max_hops: int) -> Route:
    """The way through a chain `a,b,…`: the first is reached its own way, each next one through the one before."""
    destinations = [
        parse_destination(jump.removeprefix("ssh://"), "the gateway") for jump in jumps.split(",")
    ]
    hops = [_hop(destination, settings, port=None) for destination in destinations]
    if len(hops) > max_hops:
        raise ConfigError(
            f"the way leads through more than {MAX_HOPS} hops",
            hint="look for a ProxyJump that leads to itself",
        )
    first = _route_from_config(hops[0], settings, max_hops - len(hops))
    return Route((*first.hops, *hops[1:]), first.proxy_command)


def _hop(destination: Destination, settings: Settings, *, port: int | None) -> Hop:
    config = lookup(destination, settings, port=port)
    parse_destination(f"[{config.host}]" if ":" in config.host else config.host, "HostName in the ssh_config")
    key_files = tuple(Path(file) for file in settings.connect_kwargs.get("key_filename", []))
    files = config.identity_files if settings.connect_kwargs.get("look_for_keys", True) else ()
    config = replace(config, identity_files=(*key_files, *files))
    if not settings.connect_kwargs.get("allow_agent", True):
        config = replace(config, agent="none")
    return Hop(destination.host, config)


def _through_gateway(gateway: Hop, destination: Destination, settings: Settings) -> Route:
    user = destination.user or settings.user or gateway.config.user
    login = replace(gateway.config, user=user)
    host = replace(login, host=destination.host, port=destination.port or SSH_PORT)
    return Route((replace(gateway, config=login), Hop(destination.host, host)))
