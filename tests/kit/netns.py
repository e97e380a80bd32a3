"""Machines with their own networks: network namespaces, and veth pairs between them (ip-netns(8))."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.cli import Result, User, run
from tests.kit.gateway_servers import WrappedSshd, find_program
from tests.kit.sshd import GATEWAY_OPTIONS, Network

# RFC 5737: addresses for documentation.
CLIENT, GATEWAY_OUTSIDE = "192.0.2.1", "192.0.2.2"
GATEWAY_INSIDE, HOST = "198.51.100.1", "198.51.100.2"


@dataclass(frozen=True)
class Machines:
    """The names of three namespaces."""

    client: str
    gateway: str
    host: str


def netns_exec(namespace: str) -> list[str]:
    """The prefix of a command that runs in a namespace."""
    return [find_program("ip"), "netns", "exec", namespace]


@contextlib.contextmanager
def three_namespaces() -> Iterator[Machines]:
    """A client connected to a gateway, and a gateway connected to a host. Skips the test without the privileges."""
    if not find_program("ip"):
        pytest.skip("needs the program ip (iproute2)")
    if os.geteuid() != 0:
        pytest.skip("needs root, to make network namespaces")
    token = secrets.token_hex(4)
    machines = Machines(*(f"notebooks-{token}-{name}" for name in ("client", "gateway", "host")))
    try:
        for number, namespace in enumerate((machines.client, machines.gateway, machines.host)):
            result = _ip("netns", "add", namespace, check=False)
            if result.returncode and not number:
                pytest.skip(f"needs the right to make network namespaces: {result.stderr.strip()}")
            result.check_returncode()
            _ip("-n", namespace, "link", "set", "lo", "up")
        _veth_pair(machines.client, CLIENT, machines.gateway, GATEWAY_OUTSIDE)
        _veth_pair(machines.gateway, GATEWAY_INSIDE, machines.host, HOST)
        yield machines
    finally:
        for namespace in (machines.client, machines.gateway, machines.host):
            _ip("netns", "del", namespace, check=False)


@contextlib.contextmanager
def dropped_packets(machines: Machines) -> Iterator[None]:
    """All packets between client and gateway are lost while the body runs, without an error on either side.

    They go to a link-layer address that nobody has.
    """
    ends = (
        (machines.client, GATEWAY_OUTSIDE, _interface(machines.gateway)),
        (machines.gateway, CLIENT, _interface(machines.client)),
    )
    unused = ("lladdr", "02:00:00:00:00:01", "nud", "permanent")
    for namespace, address, interface in ends:
        _ip("-n", namespace, "neigh", "replace", address, *unused, "dev", interface)
    try:
        yield
    finally:
        for namespace, address, interface in ends:
            _ip("-n", namespace, "neigh", "del", address, "dev", interface)


def _interface(peer: str) -> str:
    """The name of the interface that leads to the namespace `peer`."""
    return f"to-{peer[-7:]}"


def _veth_pair(name_1: str, address_1: str, name_2: str, address_2: str) -> None:
    names = _interface(name_2), _interface(name_1)
    _ip("link", "add", names[0], "netns", name_1, "type", "veth", "peer", "name", names[1], "netns", name_2)
    for namespace, name, address in ((name_1, names[0], address_1), (name_2, names[1], address_2)):
        _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", name)
        _ip("-n", namespace, "link", "set", name, "up")


def _ip(*arguments: str, check: bool = True) -> Result:
    return run(find_program("ip"), *arguments, check=check)


@dataclass(frozen=True)
class NetnsUser(User):
    """A user whose programs run in a namespace."""

    namespace: str

    def execute(self, command: list[str], stdin: str = "", **variables: str) -> Result:
        return super().execute([*netns_exec(self.namespace), *command], stdin, **variables)


class NetnsNetwork(Network):
    """Client, gateway and host, each in its own namespace."""

    def __init__(self, folder: Path, packages: Path, machines: Machines) -> None:
        super().__init__(folder, packages)
        self.machines = machines
        self.user = NetnsUser(self.home, folder / "temporary", machines.client)
        self.gateway = WrappedSshd(
            "gateway",
            folder / "separate_gateway",
            self.authorized_keys,
            *("AllowTcpForwarding yes", *GATEWAY_OPTIONS),
            address=GATEWAY_OUTSIDE,
            prefix=netns_exec(machines.gateway),
        )
        self.host = WrappedSshd(
            "host",
            folder / "separate_host",
            self.authorized_keys,
            self.environment(),
            address=HOST,
            prefix=netns_exec(machines.host),
        )
