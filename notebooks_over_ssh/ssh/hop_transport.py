"""Makes the transport to a hop, with its algorithms limited as ssh_config(5) specifies."""

from collections.abc import Mapping
from typing import Any

import paramiko

from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.ssh.host_keys import HostKeyPolicy
from notebooks_over_ssh.ssh.protocol.transport import Transport

CONNECT_KWARGS = frozenset({"compress", "disabled_algorithms", "auth_timeout"})
"""The settings in `connect_kwargs` that are passed to Paramiko."""


def make_transport(policy: HostKeyPolicy, timeout_s: int, sock: Any, **kwargs: Any) -> paramiko.Transport:
    """The transport over the socket to the policy's hop. Raises ConfigError if no algorithm of one kind is allowed."""
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
    transport.prefer_host_certificates = bool(policy.authority_entries)
    return transport


def limit_algorithms(transport: Transport, algorithms: Mapping[str, tuple[str, ...]], host: str) -> None:
    """Negotiate only these algorithms, by Paramiko's name for their kind. Raises ConfigError if none is left."""
    for kind, allowed in algorithms.items():
        supported: tuple[str, ...] = getattr(transport, f"preferred_{kind}")
        disabled = [algorithm for algorithm in supported if algorithm not in allowed]
        if len(disabled) == len(supported):
            raise ConfigError(
                f"ssh's configuration for {host} allows none of the supported {kind}: {', '.join(supported)}",
                hint=f"allow one for {host}, or connect with ssh itself: gateway: ssh -W %h:%p {host}",
            )
        if kind == "keys":
            transport.disabled_host_keys = frozenset(disabled)
        else:
            previous = transport.disabled_algorithms.get(kind, [])
            transport.disabled_algorithms = {**transport.disabled_algorithms, kind: [*previous, *disabled]}
