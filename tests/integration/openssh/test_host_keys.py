"""No login without a verified host key, on both hops."""

from pathlib import Path

import pytest

from tests.kit.cli import assert_error, assert_success
from tests.kit.sshd import Network, Server, make_key, public_key

HOPS = ("gateway", "host")
QUESTION = r"\[yes/no/fingerprint\]"


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


def hop(network: Network, name: str) -> Server:
    return network.gateway if name == "gateway" else network.host


@pytest.mark.parametrize("unknown", HOPS)
def test_unknown_key_without_terminal(network: Network, unknown: str) -> None:
    """Without a terminal an unknown key is refused, and not added to known_hosts."""
    server = hop(network, unknown)
    known_hosts = network.known_hosts.read_text()
    known_hosts = "".join(line for line in known_hosts.splitlines(True) if server.public_key not in line)
    network.known_hosts.write_text(known_hosts)
    assert_error(network.user.fab("secure"), 5, f":{server.port} is not known", server.fingerprint())
    assert network.known_hosts.read_text() == known_hosts
    assert server.logins() == 0


def test_unknown_key_without_known_hosts(network: Network) -> None:
    """Without a known_hosts file every key is unknown, and no such file is created."""
    network.known_hosts.unlink()
    assert_error(network.user.fab("secure"), 5, f":{network.gateway.port} is not known")
    assert not network.known_hosts.exists()


def test_user_accepts_key(network: Network) -> None:
    """The prompt shows the fingerprint, accepts yes or the fingerprint itself, and the key is added."""
    network.known_hosts.write_text("# mine, without an end of line")
    with network.user.at_terminal("fab", "secure", "--password-file", network.password_file()) as terminal:
        terminal.expect(rf":{network.gateway.port} is not known: ssh-ed25519 SHA256:")
        terminal.expect(QUESTION)
        terminal.type("yes")
        terminal.expect(rf":{network.host.port} is not known: ssh-ed25519 SHA256:")
        terminal.expect(QUESTION)
        terminal.type(network.host.fingerprint())
        assert terminal.end() == 0, terminal.output
    assert network.gateway.fingerprint() in terminal.output
    assert network.known_hosts.read_text().splitlines() == [
        "# mine, without an end of line",
        *(server.known_hosts_line for server in (network.gateway, network.host)),
    ]
    assert_success(network.user.fab("secure"))


@pytest.mark.parametrize("answer", ["no", "", "y", "SHA256:AAAAC3NzaC1lZDI1NTE5AAAAIJ"])
def test_user_refuses_key(network: Network, answer: str) -> None:
    """Every answer but yes and the right fingerprint counts as no."""
    network.known_hosts.write_text("")
    with network.user.at_terminal("fab", "secure") as terminal:
        terminal.expect(QUESTION)
        terminal.type(answer)
        assert terminal.end() == 5, terminal.output
    assert network.known_hosts.read_text() == ""
    assert network.gateway.logins() == 0


@pytest.mark.parametrize("changed", HOPS)
def test_changed_key(network: Network, changed: str) -> None:
    """A changed key is refused, with the line of the recorded one."""
    hop(network, changed).new_key()
    line = 1 + HOPS.index(changed)
    assert_error(network.user.fab("secure"), 5, "does not match the one", f"{network.known_hosts}:{line}")
    assert hop(network, changed).logins() == 0


def test_changed_key_at_terminal(network: Network) -> None:
    """A changed key is refused without a prompt."""
    network.host.new_key()
    with network.user.at_terminal("fab", "secure") as terminal:
        assert terminal.end() == 5
    assert "[yes/no" not in terminal.output


def test_session_host_key_changed(network: Network) -> None:
    """A host that was reinstalled since the session started is refused, although known_hosts has its key."""
    assert_success(network.user.fab("secure", "serve"))
    network.host.new_key()
    network.write_known_hosts()
    assert_error(
        network.user.fab("tunnel"),
        5,
        "is valid, but is not the one recorded for",
        "record it with",
        "fab serve`",
    )


def test_hashed_names(network: Network) -> None:
    """Hashed names are found, and a changed key is noticed."""
    result = network.run("ssh-keygen", "-q", "-H", "-f", str(network.known_hosts))
    assert result.returncode == 0, result.stderr
    assert network.known_hosts.read_text().count("|1|") == 2
    assert_success(network.user.fab("secure"))
    network.gateway.new_key()
    assert_error(network.user.fab("secure"), 5, f"{network.known_hosts}:1")


@pytest.mark.parametrize("revoked", HOPS)
def test_revoked_key(network: Network, revoked: str) -> None:
    """A key marked as revoked is refused, although another line accepts it."""
    network.write_known_hosts(f"@revoked * {hop(network, revoked).public_key}")
    assert_error(network.user.fab("secure"), 5, "revoked", f"{network.known_hosts}:3")
    assert hop(network, revoked).logins() == 0


def test_other_lines(network: Network) -> None:
    """CA lines, comments, invalid lines and other hosts' keys make no difference."""
    network.write_known_hosts(
        f"@cert-authority *.example.ac.uk {network.host.public_key}",
        "# a comment",
        "",
        "@revoked",
        "one-field",
        "*.example.ac.uk ssh-unheard-of AAAA",
        f"@revoked other.example.ac.uk {network.host.public_key}",
    )
    assert_success(network.user.fab("secure"))


def test_ca_key_is_no_host_key(network: Network) -> None:
    """The key of a CA is not accepted as the key of a host."""
    keys = (server.known_hosts_line for server in (network.gateway, network.host))
    network.known_hosts.write_text("".join(f"@cert-authority {line}\n" for line in keys))
    assert_error(network.user.fab("secure"), 5, "is not known")


def test_host_with_several_keys(network: Network) -> None:
    """A host with several keys uses the known one, although another has precedence."""
    other = network.folder / "other_key"
    make_key(other, kind="ecdsa")
    network.host.stop()
    network.host.start(f'HostKey "{other}"', network.environment())
    public = public_key(other)
    known_hosts = network.known_hosts.read_text().replace(network.host.public_key, public)
    network.known_hosts.write_text(known_hosts)
    assert_success(network.user.fab("secure"))
