"""A gateway and a host with accounts; what a test starts ends with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.accounts import machines
from tests.accounts.machines import Site
from tests.openssh.conftest import packages

__all__ = ["packages", "site"]


@pytest.fixture
def site(tmp_path: Path, packages: Path) -> Iterator[Site]:
    """Two machines that a test has yet to set up and start."""
    machines.needs()
    made = Site(tmp_path / "site", packages)
    try:
        yield made
    finally:
        made.close()
