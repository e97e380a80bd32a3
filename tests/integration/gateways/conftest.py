"""Each kind of gateway in turn."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.topologies import DropbearNetwork, GatewaySite, SshdNetwork, network_site, sandbox_site


@contextlib.contextmanager
def running(kind: str, folder: Path, packages: Path) -> Iterator[SshdNetwork | DropbearNetwork]:
    """A running network with this kind of gateway."""
    created = (DropbearNetwork if kind == "dropbear" else SshdNetwork)(folder / "network", packages)
    try:
        created.start()
        yield created
    finally:
        created.close()


@pytest.fixture(params=["sandbox", "sshd", "dropbear"])
def gateway_site(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, temporary: Path
) -> Iterator[GatewaySite]:
    """Each kind of gateway, with a host behind it."""
    if request.param == "sandbox":
        with sandbox_site(tmp_path_factory, temporary) as created:
            yield created
    else:
        with running(request.param, tmp_path, request.getfixturevalue("packages")) as servers:
            yield network_site(servers)


@pytest.fixture(params=["sshd", "dropbear"])
def forwarder(
    request: pytest.FixtureRequest, tmp_path: Path, packages: Path
) -> Iterator[SshdNetwork | DropbearNetwork]:
    """Each kind of gateway whose forwarding can be restricted."""
    with running(request.param, tmp_path, packages) as servers:
        yield servers
