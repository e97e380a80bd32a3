"""The competitors written in Python, each as a process of its own.

    python -m benchmarks.tunnels.implementations NAME ENDPOINT LOCAL_PORT

ENDPOINT is an `Endpoint` as JSON. Exits at the end of standard input. Imports are local, because memory is measured.
"""

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any

from .endpoint import LOOPBACK, Endpoint


def ours(endpoint: Endpoint, local_port: int) -> None:
    """This project's settings, connection and forwarder, as `fab tunnel` runs them."""
    from invoke.context import Context

    from notebooks_over_ssh.config import settings
    from notebooks_over_ssh.ssh.background_program import BackgroundProgram
    from notebooks_over_ssh.ssh.connections import close_all, connect
    from notebooks_over_ssh.ssh.jump_chain import ConnectTarget
    from notebooks_over_ssh.ssh.prompting import CredentialPrompter, NullPrompter
    from notebooks_over_ssh.tunnel import Forwarder, listen

    loaded = settings.load(Context())
    connection = connect(loaded, ConnectTarget(loaded.destination()), CredentialPrompter(NullPrompter()))
    with contextlib.closing(Forwarder([(listen(local_port), endpoint.target_port)])) as forwarder:
        forwarder.set_transport(connection.transport)
        BackgroundProgram(connection.transport, "server_status", {}, print, lambda: None).start()
        forwarder.start()
        sys.stdin.read()
    close_all()


def fabric(endpoint: Endpoint, local_port: int) -> None:
    """Fabric's `forward_local`, through a gateway; unlike its default, with host keys checked."""
    import paramiko
    from fabric import Config, Connection

    def hop(port: int, gateway: Any) -> Any:
        connection = Connection(
            LOOPBACK,
            user=endpoint.user,
            port=port,
            gateway=gateway,
            config=Config(lazy=True, ssh_config=paramiko.SSHConfig()),
            connect_kwargs={"key_filename": endpoint.key, "look_for_keys": False, "allow_agent": False},
        )
        connection.client.load_host_keys(endpoint.known_hosts)
        connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        return connection

    with (
        hop(endpoint.gateway_port, False) as gateway,
        hop(endpoint.host_port, gateway) as host,
        host.forward_local(local_port, endpoint.target_port, LOOPBACK, LOOPBACK),
    ):
        sys.stdin.read()


def asyncssh(endpoint: Endpoint, local_port: int) -> None:
    """asyncssh's `forward_local_port` through a tunnel connection, with AES-GCM before its default list."""
    import asyncio

    from asyncssh import connect

    async def forward() -> None:
        options: dict[str, Any] = {
            "username": endpoint.user,
            "client_keys": [endpoint.key],
            "known_hosts": endpoint.known_hosts,
            "agent_path": None,
            "config": None,
            "encryption_algs": "^aes128-gcm@openssh.com",
        }
        async with (
            connect(LOOPBACK, endpoint.gateway_port, **options) as gateway,
            connect(LOOPBACK, endpoint.host_port, tunnel=gateway, **options) as host,
        ):
            await host.forward_local_port(LOOPBACK, local_port, LOOPBACK, endpoint.target_port)
            await asyncio.to_thread(sys.stdin.read)

    asyncio.run(forward())


IMPLEMENTATIONS: dict[str, Callable[[Endpoint, int], None]] = {
    function.__name__: function for function in (ours, fabric, asyncssh)
}

if __name__ == "__main__":
    IMPLEMENTATIONS[sys.argv[1]](Endpoint(**json.loads(sys.argv[2])), int(sys.argv[3]))
