"""Connections and errors are the same with every kind of gateway."""

import socket
from pathlib import Path

import pytest

from tests.kit.cli import assert_error, assert_success
from tests.kit.https_probe import probe
from tests.kit.sshd import LOOPBACK, make_key
from tests.kit.topologies import DropbearNetwork, GatewaySite, SshdNetwork

TIMEOUT_S = 2


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


def test_session(gateway_site: GatewaySite) -> None:
    """secure, serve, tunnel, status and stop work through the gateway, with the server's own certificate."""
    assert_success(gateway_site.user.fab("secure", "serve", "tunnel", "--detach"))
    session = gateway_site.user.only_session()
    assert (session["server"], session["tunnel"]) == ("running", "open")
    assert session["gateway"] == gateway_site.gateway
    fingerprint = probe(gateway_site.user, session["local_port"])
    assert fingerprint.certificate_sha256 == session["certificate_sha256"]
    assert "version" in fingerprint.answer
    assert_success(gateway_site.user.fab("stop"))
    assert gateway_site.user.status() == []


def test_unreachable_host(gateway_site: GatewaySite) -> None:
    """An unknown host and a closed port exit with 3, by name."""
    assert_error(gateway_site.user.fab("-H", "nowhere.invalid", "secure"), 3, "nowhere.invalid")
    assert_error(
        gateway_site.user.fab("-H", gateway_site.closed_destination, "secure"),
        3,
        gateway_site.closed_destination.split(":")[0],
    )


def test_refused_key(gateway_site: GatewaySite) -> None:
    """A key that the gateway refuses exits with 4, the methods it accepts, and the key that was tried."""
    wrong = gateway_site.user.home / "wrong_key"
    make_key(wrong)
    gateway_site.configure(connect_kwargs={"key_filename": str(wrong)})
    assert_error(gateway_site.user.fab("secure"), 4, "it accepts publickey", f"publickey ({wrong})")


def test_changed_host_key(gateway_site: GatewaySite) -> None:
    """A key other than the one on record exits with 5, and the record's file and line are named."""
    gateway_site.change_key()
    assert_error(gateway_site.user.fab("secure"), 5, "does not match the one", str(gateway_site.known_hosts))


def test_silent_gateway(gateway_site: GatewaySite) -> None:
    """A gateway that does not answer exits with 3 after the timeout of -t."""
    with gateway_site.silent_gateway(), gateway_site.user.in_time(TIMEOUT_S):
        assert_error(gateway_site.user.fab("-t", str(TIMEOUT_S), "secure"), 3, f"within {TIMEOUT_S} s")


def test_closed_gateway_port(gateway_site: GatewaySite) -> None:
    """A gateway that does not listen exits with 3, with its port."""
    port = gateway_site.gateway.rpartition(":")[2]
    gateway_site.end_gateway()
    with socket.socket() as reserved:
        # Another test's sandbox could take the port. Without listen(2), connections are refused.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((LOOPBACK, int(port)))
        assert_error(gateway_site.user.fab("secure"), 3, f"refused the connection on port {port}")


def test_silent_host(forwarder: SshdNetwork | DropbearNetwork) -> None:
    """A host behind the gateway that does not answer exits with 3 after the timeout of -t."""
    with socket.create_server((LOOPBACK, 0)) as server:
        forwarder.configure(notebook={"host": f"{LOOPBACK}:{server.getsockname()[1]}"})
        with forwarder.user.in_time(TIMEOUT_S):
            assert_error(forwarder.user.fab("-t", str(TIMEOUT_S), "secure"), 3, f"within {TIMEOUT_S} s")


def test_forwarding_is_forbidden(forwarder: SshdNetwork | DropbearNetwork) -> None:
    """A gateway that forbids forwarding is distinguished from one that cannot reach the host: 3."""
    forwarder.forbid_forwarding()
    assert_error(forwarder.user.fab("secure"), 3, "refuses to forward")
    assert forwarder.gateway.logins() == 1
