"""The transport to a hop, and the algorithms that it may agree on, as ssh_config(5) limits them."""

from collections.abc import Mapping
from typing import Any

import paramiko

from notebooks_over_ssh.errors import BadSetting
from notebooks_over_ssh.ssh.host_keys import HostKeyPolicy
from notebooks_over_ssh.ssh.protocol.transport import Transport

PASSED_ON = ("compress", "disabled_algorithms", "auth_timeout")
"""What of `connect_kwargs` Paramiko gets."""


def transport_to(policy: HostKeyPolicy, timeout_s: int, sock: Any, **kwargs: Any) -> paramiko.Transport:
    """A transport on the socket to the hop that the policy is for. Raises BadSetting where nothing could be agreed on."""
    transport = Transport(sock, **kwargs)
    try:
        limit(transport, policy.hop.algorithms, policy.name)
    except BadSetting:
        sock.close()
        raise
    options = transport.get_security_options()
    options.key_types = policy.preferred(options.key_types)
    transport.packetizer.limit_keys(*policy.hop.rekey_limit)
    transport.answer_timeout_s = timeout_s
    transport.certificates_first = bool(policy.authorities)
    return transport


def limit(transport: Transport, algorithms: Mapping[str, tuple[str, ...]], host: str) -> None:
    """Agree on nothing else than these, by Paramiko's name of their use. Raises BadSetting where nothing is left."""
    for use, allowed in algorithms.items():
        known: tuple[str, ...] = getattr(transport, f"preferred_{use}")
        unwanted = [algorithm for algorithm in known if algorithm not in allowed]
        if len(unwanted) == len(known):
            raise BadSetting(
                f"ssh's configuration for {host} allows none of the {use} that are known here: {', '.join(known)}",
                hint=f"allow one for {host}, or let ssh itself be the way: gateway: ssh -W %h:%p {host}",
            )
        if use == "keys":
            transport.unwanted_keys = frozenset(unwanted)
        else:
            before = transport.disabled_algorithms.get(use, [])
            transport.disabled_algorithms = {**transport.disabled_algorithms, use: [*before, *unwanted]}
