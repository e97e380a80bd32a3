"""Runs commands on the sandbox with Paramiko alone."""

import json

import paramiko

from notebooks_over_ssh.sandbox.paths import POOL
from tests.kit.cli import User
from tests.kit.wait import TIMEOUT_S


def run_on_pool(user: User, command: str) -> str:
    """Run a command on the pool's current host; returns its output."""
    network = json.loads((user.sandbox / "network.json").read_text())["network"]
    key = paramiko.PKey.from_path(user.sandbox / "client_key")
    with _connected_client("127.0.0.1", network["gateway_port"], key) as gateway:
        transport = gateway.get_transport()
        assert transport
        channel = transport.open_channel("direct-tcpip", (POOL, 22), ("127.0.0.1", 0), timeout=TIMEOUT_S)
        with _connected_client(POOL, 22, key, channel) as host:
            _, output, _ = host.exec_command(command, timeout=TIMEOUT_S)
            return output.read().decode()


def _connected_client(
    name: str, port: int, key: paramiko.PKey, channel: paramiko.Channel | None = None
) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect(
        name,
        port,
        "anybody",
        pkey=key,
        sock=channel,
        timeout=TIMEOUT_S,
        allow_agent=False,
        look_for_keys=False,
    )
    return client
