"""What is left of connections when the process ends."""

from notebooks_over_ssh.ssh.connections import close_at_exit
from tests.kit.prompter import ScriptedPrompter
from tests.kit.ssh_client import Client


def test_threads(client: Client) -> None:
    """No thread of a connection runs when Python ends: one that wakes then may crash it."""
    server = client.server("host")
    client.write_known_hosts(server.known_hosts_line)
    with client.connected(server, ScriptedPrompter()) as connection:
        transport = connection.transport
        assert transport.is_alive()
        close_at_exit()
        assert not transport.is_alive()
