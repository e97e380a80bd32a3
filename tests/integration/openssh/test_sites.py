"""A site's file leads to its hosts, and commands for another site still reach a session there."""

import json
from pathlib import Path

import pytest

from tests.kit.cli import User, assert_error, assert_success
from tests.kit.sshd import LOOPBACK, Network

PIN = "SHA256:" + "a" * 43


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


def write_site(path: Path, gateway: str, host: str, pins: dict[str, list[str]]) -> None:
    path.write_text(json.dumps({"gateway": gateway, "notebook": {"host": host}, "ssh": {"host_keys": pins}}))


def accept(user: User, site: str) -> None:
    """Confirm the settings of the site at a terminal."""
    with user.at_terminal("fab", "stop", "--all", "--site", site) as terminal:
        terminal.expect(r"is new\. It sets")
        terminal.expect(r"gateway +\S+")
        terminal.expect(r"use it\? \[y/N\] ")
        terminal.type("y")
        terminal.expect("no session")
        assert terminal.end() == 0


@pytest.fixture
def sites(network: Network) -> Network:
    """Two accepted sites, the network's `here` and an imaginary `there`, and no known_hosts but the site's keys."""
    folder = network.folder
    fingerprints = [network.gateway.fingerprint(), network.host.fingerprint()]
    write_site(
        folder / "here.json",
        network.gateway_destination,
        network.host_destination,
        {LOOPBACK: fingerprints},
    )
    write_site(
        folder / "there.json",
        "gate.invalid",
        "pool.invalid",
        {"gate.invalid": [PIN], "pool.invalid": [PIN]},
    )
    network.known_hosts.unlink()
    settings = {
        "connect_kwargs": {"key_filename": str(network.key)},
        "notebook": {
            "open_browser": False,
            "sites": {name: str(folder / f"{name}.json") for name in ("here", "there")},
        },
    }
    (network.home / ".invoke.yaml").write_text(json.dumps(settings))
    assert_error(network.user.fab("stop", "--all", "--site", "here"), 2, "is new, and there is no terminal")
    for site in ("here", "there"):
        accept(network.user, site)
    return network


def test_session_of_another_site(sites: Network) -> None:
    """`status` and `stop --all` with another site reach the session with the host keys that it was started with."""
    user = sites.user
    secured = user.fab("secure", "--password-file", sites.password_file(), "--site", "here")
    assert_success(secured)
    assert_success(user.fab("serve", "--site", "here"))
    assert_error(user.fab("stop", "--site", "there"), 3, "gate.invalid")
    elsewhere = {"INVOKE_NOTEBOOK_SITE": "there"}
    (session,) = json.loads(assert_success(user.fab("status", "--json", **elsewhere)).stdout)
    assert session["server"] == "running"
    assert_success(user.fab("stop", "--all", **elsewhere))
    sites.wait_until_empty()
