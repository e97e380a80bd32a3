"""Gateways of each kind with a host behind them, and the operations that the tests need of all."""

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.kit.cli import User, assert_success
from tests.kit.gateway_servers import Dropbear, find_program
from tests.kit.leaks import processes_below
from tests.kit.ports import free_port
from tests.kit.sshd import (
    GATEWAY_OPTIONS,
    LOOPBACK,
    Network,
    known_hosts_line,
    make_key,
    public_key,
    write_settings,
)
from tests.kit.users import new_user

SANDBOX_HOST = "ashbury"


@dataclass(frozen=True)
class GatewaySite:
    """A client that knows the keys of a gateway and of the host behind it, with settings that lead there."""

    user: User
    key: Path
    known_hosts: Path
    gateway: str
    closed_destination: str
    """A place behind the gateway on which nothing listens."""
    configure: Callable[..., None]
    change_key: Callable[[], None]
    end_gateway: Callable[[], None]
    gateway_processes: Callable[[], list[psutil.Process]]

    @contextlib.contextmanager
    def silent_gateway(self) -> Iterator[None]:
        """Stop the gateway's processes (SIGSTOP) during the body."""
        processes = self.gateway_processes()
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                process.send_signal(signal.SIGCONT)


def network_site(network: Network) -> GatewaySite:
    """The site of a network's two servers."""
    server = network.gateway

    return GatewaySite(
        user=network.user,
        key=network.key,
        known_hosts=network.known_hosts,
        gateway=network.gateway_destination,
        closed_destination=f"{LOOPBACK}:{free_port()}",
        configure=network.configure,
        change_key=server.new_key,
        end_gateway=server.stop,
        gateway_processes=lambda: [server.process()],
    )


class DropbearNetwork(Network):
    """A network with dropbear as the gateway. Skips the test without its programs or root."""

    def __init__(self, folder: Path, packages: Path) -> None:
        for program in ("dropbear", "dropbearconvert", "unshare"):
            if not find_program(program):
                pytest.skip(f"needs the program {program}")
        if os.geteuid() != 0:
            pytest.skip("needs root, to give dropbear a home of its own")
        super().__init__(folder, packages)
        self.gateway = Dropbear("gateway", folder / "dropbear", self.authorized_keys)

    def forbid_forwarding(self) -> None:
        """Restart the gateway with forwarding forbidden."""
        self.gateway.stop()
        self.gateway.start("-j")


class SshdNetwork(Network):
    """A network with OpenSSH's sshd as the gateway."""

    def forbid_forwarding(self) -> None:
        """Restart the gateway with forwarding forbidden."""
        self.gateway.stop()
        self.gateway.start("AllowTcpForwarding no", *GATEWAY_OPTIONS)


@contextlib.contextmanager
def sandbox_site(factory: pytest.TempPathFactory, temporary: Path) -> Iterator[GatewaySite]:
    """The sandbox, configured like any other gateway: by its port, with a key and known_hosts."""
    with new_user(factory, temporary) as user:
        assert_success(user.fab("sandbox.start"))
        port = json.loads((user.sandbox / "network.json").read_text())["network"]["gateway_port"]
        folder = user.home / ".ssh"
        folder.mkdir(mode=0o700)
        key, known_hosts = folder / "test_key", folder / "known_hosts"
        shutil.copy(user.sandbox / "client_key", key)
        shutil.copy(user.sandbox / "known_hosts", known_hosts)
        gateway = f"{LOOPBACK}:{port}"

        def configure(*, notebook: dict[str, Any] | None = None, **settings: Any) -> None:
            write_settings(user.home, gateway, SANDBOX_HOST, key, notebook, settings)

        def change_key() -> None:
            other = folder / "other"
            make_key(other)
            lines = [line for line in known_hosts.read_text().splitlines() if str(port) not in line]
            lines.append(known_hosts_line(port, public_key(other)))
            known_hosts.write_text("".join(f"{line}\n" for line in lines))

        configure()
        yield GatewaySite(
            user=user,
            key=key,
            known_hosts=known_hosts,
            gateway=gateway,
            closed_destination=f"{SANDBOX_HOST}:{free_port()}",
            configure=configure,
            change_key=change_key,
            end_gateway=lambda: (assert_success(user.fab("sandbox.stop")), None)[1],
            gateway_processes=lambda: processes_below(user.home),
        )
