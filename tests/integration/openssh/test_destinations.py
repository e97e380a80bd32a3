"""A session keeps the destination that the user named, and every later command uses it."""

from getpass import getuser
from pathlib import Path

import pytest

from tests.kit.cli import assert_error, assert_success
from tests.kit.sshd import LOOPBACK, Network, known_hosts_line, make_key, public_key

ALIAS = "labj"


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


def alias(network: Network) -> str:
    """An ssh_config in which only the alias has the route to the host, and its key."""
    return f"""\
Host gateway
    HostName {LOOPBACK}
    Port {network.gateway.port}
Host {ALIAS}
    HostName {LOOPBACK}
    Port {network.host.port}
    ProxyJump gateway
Host gateway {ALIAS}
    User {getuser()}
    IdentityFile {network.key}
    IdentitiesOnly yes
"""


def configure(network: Network) -> None:
    """Write the alias to ~/.ssh/config, and nothing else to the settings."""
    (network.home / ".ssh" / "config").write_text(alias(network))
    network.configure(gateway=None, connect_kwargs={}, notebook={"host": ALIAS})


# The host's own name leads to it directly, to a closed port, or nowhere.
@pytest.mark.parametrize("own_name", ["localhost", "localhost6.invalid"])
def test_alias(network: Network, own_name: str) -> None:
    """A host with its own IdentityFile and ProxyJump is reached by them in every command, whatever its host name."""
    network.set_hostname(own_name)
    configure(network)
    assert_success(network.user.fab("secure", "serve"))
    assert_success(network.user.fab("tunnel", "--detach"))
    session = network.user.only_session()
    assert (session["host"], session["server"], session["tunnel"]) == (own_name, "running", "open")
    assert_success(network.user.fab("logs", "--lines", "1"))
    assert_success(network.user.fab("stop"))
    assert network.gateway.logins() == network.host.logins()
    network.wait_until_empty()


def test_new_key_of_the_host(network: Network) -> None:
    """A host with a new key is connected to once known_hosts has it, although the session's record has the old one."""
    assert_success(network.user.fab("secure", "serve"))
    network.host.new_key()
    assert_error(network.user.fab("stop"), 5, "does not match the one")
    network.write_known_hosts()
    assert_success(network.user.fab("serve"))
    assert len(list(network.user.sessions.glob("*.session.json"))) == 1
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()


def test_renamed_gateway(network: Network) -> None:
    """After the gateway's name changes in the settings, the server still has one record and one tunnel."""
    assert_success(network.user.fab("up", "--detach"))
    before = network.user.only_session()
    network.configure(gateway=f"{getuser()}@{network.gateway_destination}")
    assert_success(network.user.fab("tunnel", "--detach"))
    assert_success(network.user.fab("serve"))
    after = network.user.only_session()
    assert (after["pid"], after["local_port"]) == (before["pid"], before["local_port"])
    assert after["gateway"] != before["gateway"]
    network.configure(gateway=f"localhost:{network.gateway.port}")
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()


def test_replaced_host_key(network: Network) -> None:
    """A session's recorded key is refused when known_hosts has another in its place."""
    assert_success(network.user.fab("secure", "serve"))
    logins = network.host.logins()
    other = network.folder / "other"
    make_key(other)
    public = public_key(other)
    lines = network.known_hosts.read_text().splitlines()
    other_lines = [line for line in lines if network.host.public_key not in line]
    network.known_hosts.write_text(
        "\n".join([*other_lines, known_hosts_line(network.host.port, public)]) + "\n"
    )
    assert_error(network.user.fab("stop"), 5, "does not match the one")
    assert network.host.logins() == logins
    network.write_known_hosts()
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()
