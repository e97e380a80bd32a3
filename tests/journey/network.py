"""A look at the practice network past our own programs, with Paramiko alone."""

import json

import paramiko

from notebooks_over_ssh.sandbox.paths import POOL
from tests.journey.program import PATIENCE_S, User


def ask_the_pool(user: User, command: str) -> str:
    """Run a command on whichever machine the name of the pool leads to this time; returns what it printed."""
    network = json.loads((user.sandbox / "network.json").read_text())["network"]
    key = paramiko.PKey.from_path(user.sandbox / "client_key")
    with _logged_in("127.0.0.1", network["gateway_port"], key) as gateway:
        transport = gateway.get_transport()
        assert transport
        way = transport.open_channel("direct-tcpip", (POOL, 22), ("127.0.0.1", 0), timeout=PATIENCE_S)
        with _logged_in(POOL, 22, key, way) as host:
            _, output, _ = host.exec_command(command, timeout=PATIENCE_S)
            return output.read().decode()


def _logged_in(
    name: str, port: int, key: paramiko.PKey, way: paramiko.Channel | None = None
) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect(
        name, port, "anybody", pkey=key, sock=way, timeout=PATIENCE_S, allow_agent=False, look_for_keys=False
    )
    return client
