"""A machine that the gateway reaches by its SSH server, such as the node of a job, and that reported its host keys."""

from collections.abc import Iterator

import pytest

from notebooks_over_ssh.errors import AuthenticationError, ConfigError, HostKeyError
from notebooks_over_ssh.ssh.connection import Connection
from notebooks_over_ssh.ssh.connections import connect_next
from notebooks_over_ssh.ssh.remote import run_program
from tests.kit.prompter import ScriptedPrompter
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK, Server, make_key, public_key

TIMEOUT_S = 10


class Cluster:
    """A login node, a node behind it that the client's ssh_config describes, and the connection to the former."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.login = client.server("login")
        self.node = client.server("node")
        self.settings = client.settings(
            ssh_config=f"Host node1\n    HostName {LOOPBACK}\n    Port {self.node.port}\n"
        )
        client.write_known_hosts(self.login.known_hosts_line)

    def reported(self, server: Server | None = None) -> list[tuple[str, str]]:
        """The keys that a node reports."""
        kind, key = (server or self.node).public_key.split()
        return [(kind, key)]


@pytest.fixture
def cluster(client: Client) -> Cluster:
    return Cluster(client)


@pytest.fixture
def prompter() -> ScriptedPrompter:
    """Would answer any question with yes."""
    return ScriptedPrompter()


@pytest.fixture
def login(cluster: Cluster, prompter: ScriptedPrompter) -> Iterator[Connection]:
    with cluster.client.connected(cluster.login, prompter) as connection:
        yield connection


def enter(
    cluster: Cluster, login: Connection, keys: list[tuple[str, str]], may_prompt: bool = True
) -> Connection:
    return connect_next(login, "node1", keys, cluster.settings, may_prompt=may_prompt)


def test_reported_key(cluster: Cluster, login: Connection) -> None:
    """A key that the machine reported is accepted, programs run there, and it is connected to once."""
    node = enter(cluster, login, cluster.reported())
    assert run_program(node, "server_status", {}, timeout_s=TIMEOUT_S)["problem"] == ""
    assert node.gateway is login
    assert enter(cluster, login, cluster.reported()) is node
    assert cluster.node.logins() == 1


def test_other_key(cluster: Cluster, login: Connection, prompter: ScriptedPrompter) -> None:
    """A machine with a key that was not reported is refused before the login, without a question."""
    with pytest.raises(HostKeyError, match="none of those that the job found"):
        enter(cluster, login, cluster.reported(cluster.login))
    assert cluster.node.logins() == 0
    assert prompter.prompts == []


def test_known_hosts_wins(cluster: Cluster, login: Connection) -> None:
    """A reported key does not count where known_hosts has another one, or has revoked it."""
    name = f"[{LOOPBACK}]:{cluster.node.port}"
    make_key(cluster.client.folder / "other")
    for line in (
        f"{name} {public_key(cluster.client.folder / 'other')}",
        f"@revoked {name} {cluster.node.public_key}",
    ):
        cluster.client.write_known_hosts(cluster.login.known_hosts_line, line)
        with pytest.raises(HostKeyError):
            enter(cluster, login, cluster.reported())
    cluster.client.write_known_hosts(cluster.login.known_hosts_line, f"{name} {cluster.node.public_key}")
    with pytest.raises(HostKeyError):
        enter(cluster, login, cluster.reported(cluster.login))
    assert enter(cluster, login, cluster.reported()).is_connected


def test_nothing_reported(cluster: Cluster, login: Connection) -> None:
    """Without a reported key, only known_hosts counts: an unknown key is refused where nobody can be asked."""
    with pytest.raises(HostKeyError, match="is not known"):
        enter(cluster, login, [], may_prompt=False)
    cluster.client.write_known_hosts(cluster.login.known_hosts_line, cluster.node.known_hosts_line)
    assert enter(cluster, login, [], may_prompt=False).is_connected


def test_refused_login(cluster: Cluster, login: Connection) -> None:
    """A machine that refuses the user's key is an error of the login; a name that is an option is none of a host."""
    cluster.node.stop()
    cluster.node.start("AuthorizedKeysFile none")
    with pytest.raises(AuthenticationError):
        enter(cluster, login, cluster.reported(), may_prompt=False)
    with pytest.raises(ConfigError):
        connect_next(login, "-v", [], cluster.settings, may_prompt=False)
    assert login.is_connected
