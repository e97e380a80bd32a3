"""What holds for one gateway holds for every other: the way through it, and what is said when it is not open."""

import socket
import time

from tests.gateways.https import look
from tests.gateways.sites import DropbearNetwork, Site, SshdNetwork
from tests.journey.program import refused, succeeded
from tests.openssh.network import LOOPBACK, make_key

TIMEOUT_S = 2
# What a program needs besides to begin and to end on a busy machine.
BESIDES_S = 6


def test_journey(site: Site) -> None:
    """The whole way through the gateway: secured, served, tunnelled to, seen with its own certificate, stopped."""
    succeeded(site.user.fab("secure", "serve", "tunnel", "--detach"))
    session = site.user.only_session()
    assert (session["server"], session["tunnel"]) == ("running", "open")
    assert session["gateway"] == site.gateway
    shown = look(site.user, session["local_port"])
    assert shown.certificate_sha256 == session["certificate_sha256"]
    assert "version" in shown.answer
    succeeded(site.user.fab("stop"))
    assert site.user.status() == []


def test_nothing_behind_it(site: Site) -> None:
    """A host that the gateway does not know, and a port of one that is closed, are 3, by name."""
    refused(site.user.fab("-H", "nowhere.invalid", "secure"), 3, "nowhere.invalid")
    refused(site.user.fab("-H", site.closed_place, "secure"), 3, site.closed_place.split(":")[0])


def test_wrong_key_of_the_user(site: Site) -> None:
    """A key that the gateway does not take is 4, with what it would take and the key that was tried."""
    wrong = site.user.home / "wrong_key"
    make_key(wrong)
    site.configure(connect_kwargs={"key_filename": str(wrong)})
    refused(site.user.fab("secure"), 4, "it wants publickey", f"publickey ({wrong})")


def test_changed_key_of_the_gateway(site: Site) -> None:
    """Another key than the one on record is 5, with the place of the record."""
    site.change_key()
    refused(site.user.fab("secure"), 5, "not the one on record", str(site.known_hosts))


def test_silent_gateway(site: Site) -> None:
    """A gateway that says nothing is 3, after the seconds of -t."""
    with site.silent_gateway():
        begin = time.monotonic()
        refused(site.user.fab("-t", str(TIMEOUT_S), "secure"), 3, f"within {TIMEOUT_S} s")
        assert time.monotonic() - begin < TIMEOUT_S + BESIDES_S


def test_gateway_that_is_gone(site: Site) -> None:
    """A gateway that does not listen is 3, with its port."""
    site.end_gateway()
    refused(site.user.fab("secure"), 3, f"refused the connection on port {site.gateway.rpartition(':')[2]}")


def test_silent_host(forwarder: SshdNetwork | DropbearNetwork) -> None:
    """A host behind the gateway that says nothing is 3, after the seconds of -t."""
    with socket.create_server((LOOPBACK, 0)) as server:
        forwarder.configure(notebook={"host": f"{LOOPBACK}:{server.getsockname()[1]}"})
        begin = time.monotonic()
        refused(forwarder.user.fab("-t", str(TIMEOUT_S), "secure"), 3, f"within {TIMEOUT_S} s")
        assert time.monotonic() - begin < TIMEOUT_S + BESIDES_S


def test_forwarding_is_forbidden(forwarder: SshdNetwork | DropbearNetwork) -> None:
    """A gateway that forwards nothing is told from one that cannot reach the host: 3."""
    forwarder.forbid_forwarding()
    refused(forwarder.user.fab("secure"), 3, "does not let you through")
    assert forwarder.gateway.logins() == 1
