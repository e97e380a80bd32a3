"""A home of the test's own, real sshd and impostors; what a test starts ends with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.openssh.conftest import network, packages
from tests.proofs.client import Client
from tests.proofs.impostor import Loop

__all__ = ["network", "packages"]


@pytest.fixture
def client(tmp_path: Path, packages: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The way to a host in this process, as somebody with an empty home folder and no agent."""
    made = Client(tmp_path / "client", monkeypatch)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    """An event loop in a thread, for the servers that are written here."""
    made = Loop()
    try:
        yield made
    finally:
        made.close()
