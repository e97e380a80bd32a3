"""A machine on which a program of the gateway runs programs, as srun does: a relay reaches its ports."""

from collections.abc import Iterator

import pytest

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.ssh.bootstrap import BOOTSTRAP
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.connections import ProgramHop, connect_by_program, release
from notebooks_over_ssh.ssh.remote import list_environments, run_program
from notebooks_over_ssh.tunnel.relay import forwarding_refusal, use_relay
from tests.kit.forwarding import ServeFunction
from tests.kit.sockets import dial, echo, echoes
from tests.kit.ssh_client import Client
from tests.kit.two_hops import forwarding

TIMEOUT_S = 10
REFUSAL = "it runs programs only"
RUN = 'exec /bin/sh -c "$command"'


@pytest.fixture
def gateway(client: Client) -> Iterator[Connection]:
    """The connection to the gateway."""
    server = client.server("gateway")
    client.write_known_hosts(server.known_hosts_line)
    with client.connected(server) as connection:
        yield connection


def enter(client: Client, gateway: Connection, program: str = RUN) -> Connection:
    """The machine on which the shell command runs what it reads as `command`."""
    script = f"IFS= read -r command\n{program}\n#end\n{BOOTSTRAP}\n"
    hop = ProgramHop("node1", script.encode(), REFUSAL)
    return connect_by_program(gateway, hop, check, client.settings())


def check(connection: Connection) -> None:
    run_program(connection, "server_status", {}, timeout_s=TIMEOUT_S)


def test_programs(client: Client, gateway: Connection) -> None:
    """Programs run there with all their input, the machine is entered once, and is not taken for the gateway."""
    node = enter(client, gateway)
    reply = run_program(node, "server_status", {}, timeout_s=TIMEOUT_S)
    assert (reply["problem"], reply["running"]) == ("", False)
    assert list_environments(node, "", timeout_s=TIMEOUT_S)["problem"] == "listed"
    assert enter(client, gateway) is node
    release(node)
    assert enter(client, gateway) is not node


def test_ports(client: Client, gateway: Connection, serve: ServeFunction) -> None:
    """No port of the gateway is opened in place of one of the machine; a relay opens the machine's."""
    node = enter(client, gateway)
    port = serve(echo)
    assert forwarding_refusal(gateway, port) == ""
    assert forwarding_refusal(node, port) == REFUSAL
    use_relay(node, REFUSAL)
    with forwarding(node, port) as (_, (local,)), dial(local) as peer:
        assert echoes(peer)
        node.close()
        assert not node.is_connected
        assert gateway.is_connected
        with pytest.raises(ConnectionResetError):
            peer.recv(1)


def test_failing_program(client: Client, gateway: Connection) -> None:
    """A program that cannot run anything there is an error with what it wrote last, and leaves the gateway open."""
    with pytest.raises(RemoteError) as problem:
        enter(client, gateway, "echo 'srun: error: no such job' >&2; exit 1")
    assert problem.value.detail == ("srun: error: no such job",)
    assert gateway.is_connected
