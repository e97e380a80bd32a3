"""The forwarders that are Python, each in a process that does nothing else.

    python -m tunnels.forwarders NAME WAY LOCAL_PORT

WAY is a `Way` as JSON. Ends with its standard input. Each imports only what it needs, since its memory is measured.
"""

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any

from .way import LOOPBACK, Way


def ours(way: Way, local_port: int) -> None:
    """This project's: its settings, its Connection, its forwarding."""
    from invoke.context import Context

    from notebooks_over_ssh.config import settings
    from notebooks_over_ssh.ssh.background_program import BackgroundProgram
    from notebooks_over_ssh.ssh.connection import Destination, close_all, connect
    from notebooks_over_ssh.ssh.prompting import Asking, Nobody
    from notebooks_over_ssh.tunnel import Forwarder, listen

    set_ = settings.load(Context())
    connection = connect(set_, Destination(set_.place()), Asking(Nobody()))
    with contextlib.closing(Forwarder([(listen(local_port), way.target_port)])) as forwarder:
        forwarder.lead_through(connection.transport)
        BackgroundProgram(connection.transport, "server_status", {}, print, lambda: None).start()
        forwarder.accept()
        sys.stdin.read()
    close_all()


def fabric(way: Way, local_port: int) -> None:
    """Fabric's `forward_local`, over a Connection whose gateway is one too; only host keys are checked as it does not."""
    import paramiko
    from fabric import Config, Connection

    def hop(port: int, gateway: Any) -> Any:
        connection = Connection(
            LOOPBACK,
            user=way.user,
            port=port,
            gateway=gateway,
            config=Config(lazy=True, ssh_config=paramiko.SSHConfig()),
            connect_kwargs={"key_filename": way.key, "look_for_keys": False, "allow_agent": False},
        )
        connection.client.load_host_keys(way.known_hosts)
        connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        return connection

    with (
        hop(way.gateway_port, False) as gateway,
        hop(way.host_port, gateway) as host,
        host.forward_local(local_port, way.target_port, LOOPBACK, LOOPBACK),
    ):
        sys.stdin.read()


def asyncssh(way: Way, local_port: int) -> None:
    """asyncssh's `forward_local_port` through a tunnel connection, with AES-GCM, which it offers second by itself."""
    import asyncio

    from asyncssh import connect

    async def carry() -> None:
        options: dict[str, Any] = {
            "username": way.user,
            "client_keys": [way.key],
            "known_hosts": way.known_hosts,
            "agent_path": None,
            "config": None,
            "encryption_algs": ["aes128-gcm@openssh.com"],
        }
        async with (
            connect(LOOPBACK, way.gateway_port, **options) as gateway,
            connect(LOOPBACK, way.host_port, tunnel=gateway, **options) as host,
        ):
            await host.forward_local_port(LOOPBACK, local_port, LOOPBACK, way.target_port)
            await asyncio.to_thread(sys.stdin.read)

    asyncio.run(carry())


FORWARDERS: dict[str, Callable[[Way, int], None]] = {
    forwarder.__name__: forwarder for forwarder in (ours, fabric, asyncssh)
}

if __name__ == "__main__":
    FORWARDERS[sys.argv[1]](Way(**json.loads(sys.argv[2])), int(sys.argv[3]))
