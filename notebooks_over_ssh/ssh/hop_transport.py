"""The transport to a hop, and the algorithms that it may agree on, as ssh_config(5) limits them."""

from collections.abc import Mapping
from typing import Any

import paramiko

from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.ssh.host_keys import HostKeyPolicy
from notebooks_over_ssh.ssh.protocol.transport import Transport

CONNECT_KWARGS = frozenset({"compress", "disabled_algorithms", "auth_timeout"})
"""What of `connect_kwargs` Paramiko gets."""


def make_transport(policy: HostKeyPolicy, timeout_s: int, sock: Any, **kwargs: Any) -> paramiko.Transport:
    """A transport on the socket to the hop that the policy is for. Raises ConfigError where nothing could be agreed on."""
    transport = Transport(sock, **kwargs)
    try:
        limit_algorithms(transport, policy.hop.algorithms, policy.name)
    except ConfigError:
        sock.close()
        raise
    options = transport.get_security_options()
    options.key_types = policy.order_algorithms(options.key_types)
    transport.packetizer.limit_keys(*policy.hop.rekey_limit)
    transport.auth_timeout_s = timeout_s
    transport.prefer_host_certificates = bool(policy.authorities)
    return transport


def limit_algorithms(transport: Transport, algorithms: Mapping[str, tuple[str, ...]], host: str) -> None:
    """Agree on nothing else than these, by Paramiko's name of their use. Raises ConfigError where nothing is left."""
    for use, allowed in algorithms.items():
        supported: tuple[str, ...] = getattr(transport, f"preferred_{use}")
        disabled = [algorithm for algorithm in supported if algorithm not in allowed]
        if len(disabled) == len(supported):
            raise ConfigError(
                f"ssh's configuration for {host} allows none of the {use} that are known here: {', '.join(supported)}",
                hint=f"allow one for {host}, or let ssh itself be the way: gateway: ssh -W %h:%p {host}",
            )
        if use == "keys":
            transport.disabled_host_keys = frozenset(disabled)
        else:
            previous = transport.disabled_algorithms.get(use, [])
            transport.disabled_algorithms = {**transport.disabled_algorithms, use: [*previous, *disabled]}
