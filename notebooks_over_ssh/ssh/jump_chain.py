"""Resolves the route to a host: the jump hosts, the host itself, and the configuration of each."""

from dataclasses import dataclass, replace
from pathlib import Path

from notebooks_over_ssh.config.settings import SSH_PORT, Destination, Settings, Timeouts, parse_destination
from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.ssh.client_config import HopConfig, lookup
from notebooks_over_ssh.ssh.host_keys import Machine
from notebooks_over_ssh.ssh.tokens import TokenContext, expand_tokens

MAX_HOPS = 8


@dataclass(frozen=True)
class Hop:
    """One machine on a route."""

    label: str
    """The name for messages."""
    config: HopConfig

    def matches(self, name: str) -> bool:
        """Whether `name` is the hop's label or HostName, ignoring case."""
        return name.lower() in (self.label.lower(), self.config.host.lower())

    def pins(self, settings: Settings) -> list[list[str]]:
        """The fingerprints in ssh.host_keys, one list for each name of the hop."""
        return [pins for name, pins in settings.ssh.host_keys.items() if self.matches(name)]

    def timeout_s(self, settings: Settings) -> int:
        """The connect timeout in seconds: `timeouts.connect`; if that is the default, ConnectTimeout overrides it."""
        timeout_s = settings.timeouts.connect
        if timeout_s == Timeouts().connect and self.config.connect_timeout_s:
            return self.config.connect_timeout_s
        return timeout_s


@dataclass(frozen=True)
class ConnectTarget:
    """The target of a connection."""

    destination: Destination
    machine: Machine | None = None
    """The only machine that the destination may resolve to. If it resolves to another one, as a pool may, or cannot be
    reached, the machine is tried by its own name, over the same route and with the same login."""
    gateway: Hop | None = None
    """Replaces the gateway of the settings. The host gets this hop's configuration, not that of ssh_config(5): the same
    user, keys and known_hosts file."""
    is_configured: bool = True
    """Whether it is the destination of the settings, so that every name in `ssh.host_keys` must be on its route."""


@dataclass(frozen=True)
class Route:
    """The hops to a host, from the outermost jump host to the host itself."""

    hops: tuple[Hop, ...]
    proxy_command: str = ""
    """The command that connects to the first hop, with its tokens; "" for none."""

    @property
    def command(self) -> str:
        """The command that connects to the first hop, tokens expanded; "" for none."""
        first = self.hops[0]
        context = TokenContext(
            original_host=first.label, host=first.config.host, port=first.config.port, user=first.config.user
        )
        return expand_tokens(self.proxy_command, context)

    def with_last_host(self, host_name: str) -> "Route":
        """The route with another HostName for its last hop."""
        *jump_hosts, host = self.hops
        return replace(self, hops=(*jump_hosts, replace(host, config=replace(host.config, host=host_name))))


def resolve_route(target: ConnectTarget, settings: Settings) -> Route:
    """The route through the target's gateway, or that of the settings; without one, as ssh_config(5) specifies.

    Raises ConfigError or TaskError.
    """
    destination, gateway = target.destination, target.gateway
    route = (
        _resolve_route(destination, settings)
        if gateway is None
        else _through_gateway(gateway, destination, settings)
    )
    if target.is_configured:
        _check_pins(route, settings)
    return route


def _check_pins(route: Route, settings: Settings) -> None:
    """Raise ConfigError if ssh.host_keys has a name that is no hop: a misspelled name would protect nothing.

    The host and the gateway of the settings are allowed even if the route does not include them.
    """
    configured_hosts = [settings.notebook.host]
    if settings.gateway and " " not in settings.gateway:
        configured_hosts += settings.gateway.split(",")
    allowed_names = {
        parse_destination(destination, "the host").host.lower() for destination in configured_hosts
    }
    for name in settings.ssh.host_keys:
        if name.lower() not in allowed_names and not any(hop.matches(name) for hop in route.hops):
            raise ConfigError(
                f"ssh.host_keys has a key for {name}, which is not a hop of the route to {route.hops[-1].label}",
                hint=f"use the name of a hop: {', '.join(hop.label for hop in route.hops)}",
            )


def _resolve_route(destination: Destination, settings: Settings) -> Route:
    host = resolve_hop(destination, settings, port=settings.port)
    if settings.gateway is None:
        return _route_from_config(host, settings, MAX_HOPS)
    if " " in settings.gateway:
        return Route((host,), settings.gateway)
    gateway_route = _resolve_jumps(settings.gateway, settings, MAX_HOPS)
    return Route((*gateway_route.hops, host), gateway_route.proxy_command)


def _route_from_config(hop: Hop, settings: Settings, max_hops: int) -> Route:
    """The route to a hop by its ProxyJump or ProxyCommand; without them, the hop alone."""
    if hop.config.proxy_jump:
        jump_route = _resolve_jumps(hop.config.proxy_jump, settings, max_hops)
        return Route((*jump_route.hops, hop), jump_route.proxy_command)
    return Route((hop,), hop.config.proxy_command or "")


def _resolve_jumps(jumps: str, settings: Settings, max_hops: int) -> Route:
    """The route to the last of the jump hosts `a,b,…`; the first may have a ProxyJump of its own."""
    destinations = [
        parse_destination(jump.removeprefix("ssh://"), "the gateway") for jump in jumps.split(",")
    ]
    hops = [resolve_hop(destination, settings, port=None) for destination in destinations]
    if len(hops) > max_hops:
        raise ConfigError(
            f"the route has more than {MAX_HOPS} hops",
            hint="check the ProxyJump options in ~/.ssh/config for a loop",
        )
    first = _route_from_config(hops[0], settings, max_hops - len(hops))
    return Route((*first.hops, *hops[1:]), first.proxy_command)


def resolve_hop(destination: Destination, settings: Settings, *, port: int | None) -> Hop:
    """The hop to the destination with its configuration. Raises ConfigError or TaskError."""
    config = lookup(destination, settings, port=port)
    # HostName comes from ssh_config(5), so it has not been validated yet.
    parse_destination(f"[{config.host}]" if ":" in config.host else config.host, "HostName in ssh_config")
    key_files = tuple(Path(file) for file in settings.connect_kwargs.get("key_filename", []))
    identity_files = config.identity_files if settings.connect_kwargs.get("look_for_keys", True) else ()
    config = replace(config, identity_files=(*key_files, *identity_files))
    if not settings.connect_kwargs.get("allow_agent", True):
        config = replace(config, agent="none")
    return Hop(destination.host, config)


def _through_gateway(gateway: Hop, destination: Destination, settings: Settings) -> Route:
    user = destination.user or settings.user or gateway.config.user
    login = replace(gateway.config, user=user)
    host = replace(login, host=destination.host, port=destination.port or SSH_PORT)
    return Route((replace(gateway, config=login), Hop(destination.host, host)))
