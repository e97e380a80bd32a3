"""Two real hops whose way can be cut; what a test starts ends with it."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.accounts.conftest import site
from tests.openssh.conftest import network, packages
from tests.openssh.network import Network
from tests.proofs.conftest import client, loop
from tests.proofs.impostor import Loop
from tests.ssh.conftest import serve
from tests.tunnel.lines import lines
from tests.tunnel.way import Way

__all__ = ["client", "lines", "loop", "network", "packages", "serve", "site"]


@pytest.fixture
def way(network: Network, loop: Loop) -> Iterator[Way]:
    """A gateway and a host that are running, known and configured, with a relay before each."""
    with closing(Way(network, loop)) as made:
        yield made
