"""Machines of their own, as far as the network goes: network namespaces, and cables between them (ip-netns(8))."""

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.gateways.servers import StartedBy, found
from tests.journey.program import Done, User
from tests.openssh.network import GATEWAY_OPTIONS, Network, known_hosts_line

COMMAND_TIMEOUT_S = 10.0
# RFC 5737: addresses for examples, which lead nowhere else.
CLIENT, GATEWAY_OUTSIDE = "192.0.2.1", "192.0.2.2"
GATEWAY_INSIDE, HOST = "198.51.100.1", "198.51.100.2"


@dataclass(frozen=True)
class Machines:
    """The names of three namespaces."""

    client: str
    gateway: str
    host: str


def inside(namespace: str) -> list[str]:
    """What stands before a command that runs in a namespace."""
    return [found("ip"), "netns", "exec", namespace]


@contextlib.contextmanager
def three_machines() -> Iterator[Machines]:
    """A client that is connected with a gateway, which is connected with a host. Skips the test without the right to."""
    if not found("ip"):
        pytest.skip("needs the program ip (iproute2)")
    if os.geteuid() != 0:
        pytest.skip("needs root, to make network namespaces")
    mark = secrets.token_hex(4)
    machines = Machines(*(f"notebooks-{mark}-{name}" for name in ("client", "gateway", "host")))
    try:
        for number, namespace in enumerate((machines.client, machines.gateway, machines.host)):
            made = _ip("netns", "add", namespace, check=False)
            if made.returncode and not number:
                pytest.skip(f"needs the right to make network namespaces: {made.stderr.strip()}")
            made.check_returncode()
            _ip("-n", namespace, "link", "set", "lo", "up")
        _cable(machines.client, CLIENT, machines.gateway, GATEWAY_OUTSIDE)
        _cable(machines.gateway, GATEWAY_INSIDE, machines.host, HOST)
        yield machines
    finally:
        for namespace in (machines.client, machines.gateway, machines.host):
            _ip("netns", "del", namespace, check=False)


def _cable(one: str, its_address: str, other: str, other_address: str) -> None:
    names = f"to-{other[-7:]}", f"to-{one[-7:]}"
    _ip("link", "add", names[0], "netns", one, "type", "veth", "peer", "name", names[1], "netns", other)
    for namespace, name, address in ((one, names[0], its_address), (other, names[1], other_address)):
        _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", name)
        _ip("-n", namespace, "link", "set", name, "up")


def _ip(*arguments: str, check: bool = True) -> Done:
    done = subprocess.run(
        [found("ip"), *arguments], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
    )
    assert not check or done.returncode == 0, f"{done.args}: {done.stderr}"
    return done


@dataclass(frozen=True)
class UserInside(User):
    """Somebody whose programs run in a namespace."""

    namespace: str

    def execute(self, command: list[str], stdin: str = "", **variables: str) -> Done:
        return super().execute([*inside(self.namespace), *command], stdin, **variables)


class SeparateNetwork(Network):
    """Client, gateway and host, each on a machine of its own."""

    def __init__(self, folder: Path, packages: Path, machines: Machines) -> None:
        super().__init__(folder, packages)
        self.machines = machines
        self.user = UserInside(self.home, folder / "temporary", machines.client)
        self.gateway = StartedBy(
            "gateway",
            folder / "separate_gateway",
            self.authorized,
            *("AllowTcpForwarding yes", *GATEWAY_OPTIONS),
            address=GATEWAY_OUTSIDE,
            prefix=inside(machines.gateway),
        )
        self.host = StartedBy(
            "host",
            folder / "separate_host",
            self.authorized,
            self.environment(),
            address=HOST,
            prefix=inside(machines.host),
        )

    @property
    def gateway_place(self) -> str:
        return f"{GATEWAY_OUTSIDE}:{self.gateway.port}"

    @property
    def host_place(self) -> str:
        return f"{HOST}:{self.host.port}"

    def know(self, *more: str) -> None:
        lines = [
            known_hosts_line(server.port, server.public_key, server.address)
            for server in (self.gateway, self.host)
        ]
        self.known_hosts.write_text("".join(f"{line}\n" for line in (*lines, *more)))
