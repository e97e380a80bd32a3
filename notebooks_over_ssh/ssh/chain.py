"""The Connections to the hops of a route, none opened yet."""

import logging
from typing import Any

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.ssh.authentication import LoginStrategy
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.endpoint import Endpoint
from notebooks_over_ssh.ssh.hop_transport import CONNECT_KWARGS
from notebooks_over_ssh.ssh.host_keys import HostKeyPolicy, Machine
from notebooks_over_ssh.ssh.jump_chain import ConnectTarget, Route, resolve_route
from notebooks_over_ssh.ssh.prompting import CredentialPrompter


def build_chain(settings: Settings, target: ConnectTarget, credentials: CredentialPrompter) -> Connection:
    """The Connections to the hops of the route, each through the one before; returns the last. Opens none."""
    # Without a handler, logging prints Paramiko's warnings; each failure is reported as a UserError instead.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    route = resolve_route(target, settings)
    connection: Connection | None = None
    for hop in route.hops:
        config = hop.config
        prompter = credentials if config.may_prompt else credentials.non_interactive()
        is_host = hop is route.hops[-1]
        machine = target.machine if is_host else None
        policy = HostKeyPolicy(config, prompter, machine=machine, pins=hop.pins(settings))
        connection = Connection(
            Endpoint(config.host, hop.label, policy, route.command if connection is None else ""),
            config,
            login=LoginStrategy(
                config, hop.label, prompter, settings.ssh, connection and connection.login, is_host=is_host
            ),
            timeout_s=hop.timeout_s(settings),
            gateway=connection,
            fallback=machine and _own_name(machine, route, settings, prompter),
            connect_kwargs=connect_kwargs(settings),
        )
    assert connection is not None, "a route has a host"
    return connection


def connect_kwargs(settings: Settings) -> dict[str, Any]:
    """What the settings say of every login, for Paramiko."""
    return {key: settings.connect_kwargs[key] for key in CONNECT_KWARGS & settings.connect_kwargs.keys()}


def _own_name(
    machine: Machine, route: Route, settings: Settings, credentials: CredentialPrompter
) -> Endpoint | None:
    """The endpoint of the machine under its own name; None if the route ends at that name already."""
    requested_hop = route.hops[-1].config
    if machine.name.lower() == requested_hop.host.lower():
        return None
    own_route = route.with_last_host(machine.name)
    own_hop = own_route.hops[-1]
    policy = HostKeyPolicy(
        own_hop.config, credentials, machine=machine, requested_hop=requested_hop, pins=own_hop.pins(settings)
    )
    return Endpoint(machine.name, machine.name, policy, own_route.command if len(own_route.hops) == 1 else "")
