"""The way to a host: its hops, from the one nearest to us to the host itself, and what is known of each."""

from dataclasses import dataclass, replace
from pathlib import Path

from notebooks_over_ssh.config.settings import SSH_PORT, Place, Settings, parse_place
from notebooks_over_ssh.errors import BadSetting
from notebooks_over_ssh.ssh.client_config import HopConfig, look_up
from notebooks_over_ssh.ssh.host_keys import Machine
from notebooks_over_ssh.ssh.tokens import Names, fill_tokens

MOST_HOPS = 8


@dataclass(frozen=True)
class Hop:
    """One machine on the way: what it is called in messages, and how to log in there."""

    label: str
    config: HopConfig

    def is_called(self, name: str) -> bool:
        """Whether it is this hop that is meant: by the name that was asked for, or by its HostName, in any case."""
        return name.lower() in (self.label.lower(), self.config.host.lower())

    def pins(self, settings: Settings) -> list[list[str]]:
        """The fingerprints that the settings give for the hop, under each of its names."""
        return [pins for name, pins in settings.ssh.host_keys.items() if self.is_called(name)]

    def timeout_s(self, settings: Settings) -> int:
        """How many seconds it may take to answer: ConnectTimeout, unless the settings say something else."""
        given = settings.timeouts.connect
        return self.config.connect_timeout_s or given if given == type(settings.timeouts)().connect else given


@dataclass(frozen=True)
class Destination:
    """Where a connection is to lead."""

    place: Place
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
        names = Names(
            asked=first.label, host=first.config.host, port=first.config.port, user=first.config.user
        )
        return fill_tokens(self.proxy_command, names)

    def ending_at(self, host_name: str) -> "Route":
        """The same way, with the same login, to another HostName at its end."""
        *before, last = self.hops
        end = replace(last, config=replace(last.config, host=host_name))
        return replace(self, hops=(*before, end))


def route_to(destination: Destination, settings: Settings) -> Route:
    """The way there through its gateway or that of the settings, else as OpenSSH's configuration has it.

    Raises BadSetting or Failed.
    """
    place, gateway = destination.place, destination.gateway
    route = _route_to(place, settings) if gateway is None else _through_gateway(gateway, place, settings)
    _refuse_pins_of_nobody(route, settings)
    return route


def _refuse_pins_of_nobody(route: Route, settings: Settings) -> None:
    """Raise BadSetting for a host key that is pinned to no hop: a name that is mistyped would protect nothing.

    The host and the gateway of the settings count too where the way is another one.
    """
    configured = [settings.notebook.host]
    if settings.gateway and " " not in settings.gateway:
        configured += settings.gateway.split(",")
    known = {parse_place(place, "the host").host.lower() for place in configured}
    for name in settings.ssh.host_keys:
        if name.lower() not in known and not any(hop.is_called(name) for hop in route.hops):
            raise BadSetting(
                f"ssh.host_keys has keys for {name}, which is no hop on the way to {route.hops[-1].label}",
                hint=f"name one of {', '.join(hop.label for hop in route.hops)}",
            )


def _route_to(place: Place, settings: Settings) -> Route:
    host = _hop(place, settings, port=settings.port)
    if settings.gateway is None:
        return _own_way(host, settings, MOST_HOPS)
    if " " in settings.gateway:
        return Route((host,), settings.gateway)
    before = _through(settings.gateway, settings, MOST_HOPS)
    return Route((*before.hops, host), before.proxy_command)


def _own_way(hop: Hop, settings: Settings, most: int) -> Route:
    """The way to a hop as OpenSSH's configuration has it: ProxyJump, ProxyCommand or straight."""
    if hop.config.proxy_jump:
        before = _through(hop.config.proxy_jump, settings, most)
        return Route((*before.hops, hop), before.proxy_command)
    return Route((hop,), hop.config.proxy_command or "")


def _through(jumps: str, settings: Settings, most: int) -> Route:
    """The way through a chain `a,b,…`: the first is reached its own way, each next one through the one before."""
    places = [parse_place(jump.removeprefix("ssh://"), "the gateway") for jump in jumps.split(",")]
    hops = [_hop(place, settings, port=None) for place in places]
    if len(hops) > most:
        raise BadSetting(
            f"the way leads through more than {MOST_HOPS} hops",
            hint="look for a ProxyJump that leads to itself",
        )
    first = _own_way(hops[0], settings, most - len(hops))
    return Route((*first.hops, *hops[1:]), first.proxy_command)


def _hop(place: Place, settings: Settings, *, port: int | None) -> Hop:
    config = look_up(place, settings, port=port)
    parse_place(f"[{config.host}]" if ":" in config.host else config.host, "HostName in the ssh_config")
    given = tuple(Path(file) for file in settings.connect_kwargs.get("key_filename", []))
    files = config.identity_files if settings.connect_kwargs.get("look_for_keys", True) else ()
    config = replace(config, identity_files=(*given, *files))
    if not settings.connect_kwargs.get("allow_agent", True):
        config = replace(config, agent="none")
    return Hop(place.host, config)


def _through_gateway(gateway: Hop, place: Place, settings: Settings) -> Route:
    user = place.user or settings.user or gateway.config.user
    login = replace(gateway.config, user=user)
    host = replace(login, host=place.host, port=place.port or SSH_PORT)
    return Route((replace(gateway, config=login), Hop(place.host, host)))
