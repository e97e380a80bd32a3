"""A man in the middle, on either hop, receives nothing before its host key is verified."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.kit.cli import assert_error
from tests.kit.mitm_sshd import AsyncioThread, MitmRecord, mitm_server
from tests.kit.prompter import ScriptedPrompter
from tests.kit.ssh_certificates import IN_DATE, OUT_OF_DATE, Authority
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK, Network, known_hosts_line, make_key

HOPS = ("gateway", "host")


@contextlib.contextmanager
def in_the_middle(
    network: Network, loop: AsyncioThread, hop: str, **notebook: object
) -> Iterator[MitmRecord]:
    """A MITM server in place of a hop, whose real key is in known_hosts under the server's port."""
    key = network.folder / "impostor_key"
    make_key(key)
    true = network.gateway if hop == "gateway" else network.host
    with mitm_server(loop, key) as (port, record):
        network.write_known_hosts(known_hosts_line(port, true.public_key))
        settings = {"gateway": f"{LOOPBACK}:{port}"} if hop == "gateway" else {}
        host = {"host": f"{LOOPBACK}:{port}"} if hop == "host" else {}
        network.configure(notebook={**host, **notebook}, **settings)
        yield record


@pytest.mark.parametrize("hop", HOPS)
def test_changed_key(network: Network, loop: AsyncioThread, hop: str) -> None:
    """A MITM server with another key than the recorded one is refused, and receives nothing after its key."""
    with in_the_middle(network, loop, hop) as record:
        assert_error(network.user.fab("secure"), 5, "does not match the one", str(network.known_hosts))
        assert record.is_empty(), record
    assert network.gateway.logins() == HOPS.index(hop)
    assert network.host.logins() == 0


@pytest.mark.parametrize("hop", HOPS)
def test_unknown_key(network: Network, loop: AsyncioThread, hop: str) -> None:
    """Without a recorded key and a terminal, a MITM server receives nothing after its key."""
    with in_the_middle(network, loop, hop) as record:
        network.known_hosts.write_text("" if hop == "gateway" else network.gateway.known_hosts_line + "\n")
        before = network.known_hosts.read_text()
        assert_error(network.user.fab("secure"), 5, "is not known")
        assert record.is_empty(), record
        assert network.known_hosts.read_text() == before


@pytest.mark.parametrize("hop", HOPS)
def test_prompt_for_the_fingerprint(network: Network, loop: AsyncioThread, hop: str) -> None:
    """During the prompt with the fingerprint, and after a no, a MITM server has received nothing."""
    with in_the_middle(network, loop, hop) as record:
        network.known_hosts.write_text("" if hop == "gateway" else network.gateway.known_hosts_line + "\n")
        with network.user.at_terminal("fab", "secure") as terminal:
            terminal.expect(r"\[yes/no/fingerprint\]")
            assert record.is_empty(), record
            terminal.type("no")
            assert terminal.end() == 5, terminal.output
        assert record.is_empty(), record


def test_other_tasks(network: Network, loop: AsyncioThread) -> None:
    """The other tasks refuse it too."""
    with in_the_middle(network, loop, "gateway") as record:
        for task in ("serve", "up", "doctor"):
            assert_error(network.user.invoke(task), 5, "does not match the one")
        assert record.is_empty(), record


def test_record(client: Client, loop: AsyncioThread) -> None:
    """The MITM server records: one whose key is accepted receives the key's signature, and a password."""
    key = client.folder / "impostor_key"
    make_key(key)
    with mitm_server(loop, key) as (port, record):
        client.write_known_hosts(known_hosts_line(port, key.with_suffix(".pub").read_text()))
        assert client.connect_error(f"{LOOPBACK}:{port}") is None
        assert [proof.split()[0] for proof in record.auth_attempts] == ["key"]
        assert record.packets
        assert not record.is_empty()


REASONS = {
    "another authority": "is not known",
    "out of date": "it is expired or not yet valid",
    "another host": "it is valid for elsewhere",
    "for a user": "it is a user certificate",
}


@pytest.mark.parametrize("wrong", REASONS)
@pytest.mark.parametrize("hop", HOPS)
def test_invalid_certificate(client: Client, loop: AsyncioThread, hop: str, wrong: str) -> None:
    """A MITM server with a certificate of another CA, an expired one, or one for another host receives nothing; the
    error has the reason.
    """
    site = Authority.new(client.folder / "site")
    signs = Authority.new(client.folder / "other") if wrong == "another authority" else site
    key = client.folder / "impostor_key"
    make_key(key)
    certificate = signs.sign(
        key,
        "elsewhere" if wrong == "another host" else LOOPBACK,
        dates=OUT_OF_DATE if wrong == "out of date" else IN_DATE,
        for_host=wrong != "for a user",
    )
    known_hosts = [f"@cert-authority * {site.public_key}"]
    route = None
    if hop == "host":
        gateway = client.server("gateway", "AllowTcpForwarding yes")
        known_hosts.append(gateway.known_hosts_line)
        route = f"{LOOPBACK}:{gateway.port}"
    client.write_known_hosts(*known_hosts)
    with mitm_server(loop, key, certificate=certificate) as (port, record):
        client.expect_error(f"{LOOPBACK}:{port}", 5, REASONS[wrong], gateway=route)
        assert record.is_empty(), record


def test_valid_certificate(client: Client, loop: AsyncioThread) -> None:
    """The same server with a valid certificate is connected to without a prompt."""
    site = Authority.new(client.folder / "site")
    key = client.folder / "impostor_key"
    make_key(key)
    certificate = site.sign(key, LOOPBACK)
    with mitm_server(loop, key, certificate=certificate) as (port, record):
        client.write_known_hosts(f"@cert-authority [{LOOPBACK}]:* {site.public_key}")
        prompter = ScriptedPrompter()
        assert client.connect_error(f"{LOOPBACK}:{port}", prompter) is None
        assert prompter.prompts == []
        assert record.auth_attempts
