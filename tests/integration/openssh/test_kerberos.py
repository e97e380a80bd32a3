"""Login with Kerberos tickets (gssapi-with-mic, RFC 4462), against a real key distribution center and sshd."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from notebooks_over_ssh.ssh.connection import Connection
from tests.kit.cli import assert_error, assert_success
from tests.kit.kerberos import ACCEPT_TICKETS_ONLY, SERVICE_HOST, SSHD_OPTIONS, Realm
from tests.kit.prompter import ScriptedPrompter
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK, Network, Server

CONFIG = f"GSSAPIAuthentication yes\nGSSAPIServerIdentity {SERVICE_HOST}\n"


@pytest.fixture
def realm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Realm]:
    """A running realm, whose tickets this process uses."""
    with closing(Realm(tmp_path / "realm")) as created:
        for name, value in created.environment.items():
            monkeypatch.setenv(name, value)
        created.start()
        yield created


def test_server_with_a_ticket_that_is_renewed(network: Network, realm: Realm) -> None:
    """`notebook.prefix` runs the server: krenew renews the host's ticket while the server runs, and ends with it."""
    realm.get_ticket("-r", "7d")
    network.host.stop()
    network.host.start(network.environment(**realm.environment))
    network.configure(notebook={"prefix": ["krenew", "-K", "60", "--"]})
    assert_success(network.user.fab("secure", "serve"))
    session = network.user.only_session()
    server = psutil.Process(session["pid"])
    parent = server.parent()
    assert parent is not None and parent.name() == "krenew"
    assert network.user.only_session()["server"] == "running"
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()


def test_server_without_the_ticket(network: Network, realm: Realm) -> None:
    """Where a ticket is delegated for the login only, `serve` says so before it starts a server, and only then.
    `doctor` shows the ticket.
    """
    realm.get_ticket()
    network.host.stop()
    network.host.variables = realm.server_environment
    network.host.start(network.environment(), *SSHD_OPTIONS)
    config = network.home / ".ssh" / "config"
    config.write_text(f"{CONFIG}GSSAPIDelegateCredentials yes\n")
    assert_success(network.user.fab("secure", **realm.environment))
    report = assert_success(network.user.fab("doctor", **realm.environment)).stdout
    assert f"with the Kerberos ticket of {realm.principal}, delegated, which ends in " in report
    warning = "keeps your Kerberos ticket for this login only: notebook.prefix"
    assert warning in network.user.fab("serve", **realm.environment).stderr
    assert warning not in assert_success(network.user.fab("serve", **realm.environment)).stderr
    assert_success(network.user.fab("stop", **realm.environment))
    assert used_ticket(network.host)


def test_missing_prefix(network: Network) -> None:
    """A program of `notebook.prefix` that the host does not have is named, and nothing is started."""
    network.configure(notebook={"prefix": ["no-such-program", "--"]})
    assert_success(network.user.fab("secure"))
    assert_error(network.user.fab("serve"), 6, "no program no-such-program, which notebook.prefix names")
    network.wait_until_empty()


def kerberos_server(client: Client, realm: Realm, name: str, *options: str) -> Server:
    """Start an sshd with a key of the realm."""
    return client.server(name, *options, variables=realm.server_environment)


@pytest.fixture
def hops(client: Client, realm: Realm) -> tuple[Server, Server]:
    """A gateway and a host, which accept nothing but tickets."""
    gateway, host = (
        kerberos_server(client, realm, name, *ACCEPT_TICKETS_ONLY) for name in ("gateway", "host")
    )
    client.write_known_hosts(gateway.known_hosts_line, host.known_hosts_line)
    return gateway, host


def used_ticket(server: Server) -> bool:
    """Whether the server's last login was by a ticket."""
    return "Accepted gssapi-with-mic" in server.log.read_text()


def output(connection: Connection, command: str) -> str:
    """The output of a command on the host."""
    session = connection.create_session()
    session.exec_command(command)
    with session.makefile() as stream:
        return str(stream.read(), "utf-8")


def test_two_hops(client: Client, realm: Realm, hops: tuple[Server, Server]) -> None:
    """With a ticket both hops are logged in to without a prompt, and no credentials are handed over."""
    gateway, host = hops
    realm.get_ticket()
    prompter = ScriptedPrompter()
    with client.connected(
        host, prompter, gateway=f"{LOOPBACK}:{gateway.port}", ssh_config=CONFIG
    ) as connection:
        assert "no ticket" in output(connection, "klist -s || echo no ticket")
    assert used_ticket(gateway) and used_ticket(host)
    assert not prompter.prompts


def test_delegation(client: Client, realm: Realm, hops: tuple[Server, Server]) -> None:
    """Credentials are delegated to the hop for which ssh_config has GSSAPIDelegateCredentials, and to no other."""
    gateway, host = hops
    realm.get_ticket()
    config = f'Match host {LOOPBACK} exec "test %p = {host.port}"\nGSSAPIDelegateCredentials yes\nMatch all\n{CONFIG}'
    with client.connected(host, gateway=f"{LOOPBACK}:{gateway.port}", ssh_config=config) as connection:
        assert realm.principal in output(connection, "klist")
    with client.connected(gateway, ssh_config=config) as connection:
        assert "no ticket" in output(connection, "klist -s || echo no ticket")


def test_name_of_the_address(client: Client, realm: Realm, hops: tuple[Server, Server]) -> None:
    """With GSSAPITrustDns the server's principal has the name of its address; without it, the name that was given."""
    gateway, _host = hops
    realm.get_ticket()
    with client.connected(gateway, ssh_config="GSSAPIAuthentication yes\nGSSAPITrustDns yes\n"):
        pass
    error = client.expect_error(
        gateway, 4, "it accepts gssapi-with-mic", "not found in kerberos database",
        ssh_config="GSSAPIAuthentication yes\n",
    )  # fmt: skip
    assert "kinit" in error.hint


def test_client_identity(client: Client, realm: Realm, hops: tuple[Server, Server]) -> None:
    """GSSAPIClientIdentity chooses the principal; one without a ticket is named as the reason."""
    gateway, _host = hops
    realm.get_ticket()
    with client.connected(gateway, ssh_config=f"{CONFIG}GSSAPIClientIdentity {realm.principal}\n"):
        pass
    client.expect_error(gateway, 4, "gssapi-with-mic:", ssh_config=f"{CONFIG}GSSAPIClientIdentity someone\n")


def test_no_ticket(client: Client, realm: Realm, hops: tuple[Server, Server]) -> None:
    """Without a ticket, or while the key distribution center is down, the error says so, with kinit as the hint."""
    gateway, _host = hops
    error = client.expect_error(gateway, 4, "gssapi-with-mic: no kerberos credentials", ssh_config=CONFIG)
    assert "kinit" in error.hint
    realm.get_ticket()
    realm.close()
    error = client.expect_error(gateway, 4, "gssapi-with-mic: cannot contact any kdc", ssh_config=CONFIG)
    assert "kinit" in error.hint


def test_other_methods_after_it(client: Client, realm: Realm) -> None:
    """A hop that refuses the ticket, or requires a key too, is logged in to with the key."""
    realm.get_ticket()
    both = kerberos_server(
        client, realm, "both", *SSHD_OPTIONS, "AuthenticationMethods gssapi-with-mic,publickey"
    )
    unwilling = kerberos_server(client, realm, "unwilling", "GSSAPIAuthentication no")
    keyless = client.server("keyless", *SSHD_OPTIONS)
    client.write_known_hosts(*(server.known_hosts_line for server in (both, unwilling, keyless)))
    for server in (both, unwilling, keyless):
        with client.connected(server, ssh_config=CONFIG):
            assert server.logins() == 1
    assert "Partial gssapi-with-mic" in both.log.read_text()


@pytest.mark.parametrize("option", ["GSSAPIAuthentication no", "PreferredAuthentications publickey"])
def test_excluded(client: Client, realm: Realm, option: str) -> None:
    """A ticket is not used where ssh_config excludes the method."""
    realm.get_ticket()
    server = kerberos_server(client, realm, "host", *SSHD_OPTIONS)
    client.write_known_hosts(server.known_hosts_line)
    with client.connected(server, ssh_config=f"{option}\n{CONFIG}"):
        assert not used_ticket(server)
