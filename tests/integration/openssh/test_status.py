"""`status` queries all hosts concurrently, and waits only briefly for silent ones."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.cli import assert_success
from tests.kit.sshd import LOOPBACK, Network

SILENT_HOSTS = 4


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


@contextlib.contextmanager
def silent_gateway() -> Iterator[str]:
    """The address of a gateway that accepts connections and sends nothing."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield f"{LOOPBACK}:{server.getsockname()[1]}"


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """The address of a gateway whose backlog is full, so that the kernel drops each SYN (listen(2))."""
    with socket.socket() as server, contextlib.ExitStack() as stack:
        server.bind((LOOPBACK, 0))
        server.listen(0)
        for _ in range(2):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"{LOOPBACK}:{server.getsockname()[1]}"


@pytest.fixture
def serving_user(network: Network) -> Iterator[Network]:
    """A user with a running server, without a tunnel."""
    assert_success(network.user.fab("secure"))
    assert_success(network.user.fab("serve"))
    try:
        yield network
    finally:
        assert_success(network.user.fab("stop", "--force"))


def test_silent_hosts(serving_user: Network) -> None:
    """Several silent hosts take no longer than one, and do not affect those that answer."""
    user = serving_user.user
    record = user.record("localhost")
    paths = [user.sessions / f"silent-{number}.session.json" for number in range(SILENT_HOSTS)]
    took = []
    with contextlib.ExitStack() as stack:
        for path, silent in zip(paths, (black_hole, silent_gateway) * (SILENT_HOSTS // 2), strict=True):
            gateway = stack.enter_context(silent())
            path.write_text(json.dumps({**record, "host": path.stem, "gateway": gateway}))
            began = time.monotonic()
            sessions = user.status()
            took.append(time.monotonic() - began)
            by_server = sorted(session["server"] for session in sessions)
            assert by_server == ["running"] + ["unreachable"] * (len(sessions) - 1)
            assert {session["pid"] for session in sessions} == {record["pid"]}, "the last known state"
        output = assert_success(user.fab("status")).stdout
        assert output.count("unreachable") == output.count("last known") == SILENT_HOSTS
    for path in paths:
        path.unlink()
    assert took[-1] < took[0] * SILENT_HOSTS / 2
