"""ssh_config is read as ssh(1) reads it: compared with the output of `ssh -G`."""

import os
import pwd
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from notebooks_over_ssh.config.settings import Settings, parse_destination
from notebooks_over_ssh.errors import ConfigError
from notebooks_over_ssh.ssh.client_config import HopConfig, lookup
from notebooks_over_ssh.ssh.jump_chain import ConnectTarget, Route, resolve_route
from tests.kit.cli import assert_error, run
from tests.kit.ssh_client import Client
from tests.kit.sshd import Network

TIMEOUT_S = 10
ACCOUNT = Path(pwd.getpwuid(os.getuid()).pw_dir)


@dataclass(frozen=True)
class Case:
    """A configuration, the host to connect to, and whether Paramiko's parser must understand it too."""

    text: str
    destination: str = "ashbury"
    by_paramiko: bool = True


CASES = {
    "plain": Case("Host ashbury\n HostName ashbury.example\n Port 2222\n User s1\n"),
    "pattern": Case("Host ash*\n User star\nHost ?shbury\n User mark\n Port 2201\nHost *\n Port 2202\n"),
    "negated": Case("Host * !ashbury\n User others\nHost !oakley *\n Port 2203\n"),
    "list": Case("Host oakley ashbury\n HostName=%h.example\n User = equals\n"),
    "first counts": Case("Host *\n User first\nHost ashbury\n User second\n Port 2204\n Port 2205\n"),
    "match host": Case(
        "Host ashbury\n HostName a.example\nMatch host a.example\n User matched\nMatch host b.example\n Port 1\n"
    ),
    "match originalhost": Case("Match originalhost ashbury\n User matched\n HostName a.example\n"),
    "match user": Case("Host ashbury\n User s1\nMatch user s1\n Port 2206\nMatch user s2\n Port 1\n"),
    "match localuser": Case("Match localuser nobody-here\n User no\nMatch all\n User yes\n"),
    "match exec": Case(
        'Match exec "test %n = ashbury"\n User ran\nMatch exec false\n Port 1\n', by_paramiko=False
    ),
    "match negated": Case("Match !host ashbury\n User no\nMatch host oakley,ash*\n User yes\n"),
    "include": Case("Include {folder}/included\nHost ashbury\n Port 2207\n", by_paramiko=False),
    "tokens": Case(
        "Host ashbury\n HostName a.example\n Port 2208\n User s1\n"
        " IdentityFile ~/.ssh/%h-%p-%r-%n\n IdentityFile %d/keys/%u\n IdentityFile /keys/%%h\n"
        " CertificateFile ~/.ssh/%h-cert.pub\n"
    ),
    "more tokens": Case("Host ashbury\n HostKeyAlias k\n IdentityFile /keys/%k-%i\n", by_paramiko=False),
    "environment": Case("Host ashbury\n IdentityFile ${{KEYS}}/id\n", by_paramiko=False),
    "quoted": Case('Host ashbury\n IdentityFile "/keys/with a space"\n', by_paramiko=False),
    "several files": Case(
        "Host ashbury\n IdentityFile /keys/one\n IdentityFile /keys/two\n IdentitiesOnly yes\n"
        "Host *\n IdentityFile /keys/three\n"
    ),
    "timeouts": Case("Host *\n ConnectTimeout 7\n ServerAliveInterval 15\n ServerAliveCountMax 5\n"),
    "logins": Case(
        "Host ashbury\n PasswordAuthentication no\n NumberOfPasswordPrompts 2\n"
        " PreferredAuthentications password,publickey\n RequiredRSASize 3072\n RevokedHostKeys /k/revoked\n"
    ),
    "alias": Case("Host ashbury\n HostKeyAlias the-pool\n UserKnownHostsFile /k/one /k/two\n"),
    "strict": Case("Host ashbury\n StrictHostKeyChecking yes\n"),
    "agent": Case("Host ashbury\n IdentityAgent /run/agent\n"),
    "no agent": Case("Host ashbury\n IdentityAgent none\n"),
    "jump": Case("Host ashbury\n ProxyJump gateway\n"),
    "no jump": Case("Host ashbury\n ProxyJump none\nHost *\n ProxyJump gateway\n"),
    "command": Case("Host ashbury\n ProxyCommand nc -x proxy %h %p\n"),
    "case": Case("HOST ashbury\n\tUSER s1\n  pOrT 2209\n# Host *\n# User no\n"),
}


@pytest.fixture(autouse=True)
def _own_files(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS", "/keys/of/mine")


def load_settings(client: Client, case: Case) -> Settings:
    """Settings with the case's configuration as the file of -S."""
    (client.folder / "included").write_text("Host ashbury\n User included\n HostName in.example\n")
    return client.settings(ssh_config=case.text.format(folder=client.folder))


def ssh(settings: Settings, *arguments: str) -> str:
    """The output of ssh, with its configuration from the file alone."""
    result = run("ssh", "-F", str(settings.ssh_config_path), *arguments, check=False)
    return result.stdout + result.stderr


def ssh_options(settings: Settings, host: str) -> dict[str, str]:
    """The output of `ssh -G`, with the first value of each keyword."""
    options: dict[str, str] = {}
    for line in ssh(settings, "-G", host).splitlines():
        keyword, _, value = line.partition(" ")
        options.setdefault(keyword, value)
    return options


def ssh_identities(settings: Settings, host: str) -> list[Path]:
    """The identity files that ssh tries, with all tokens expanded; the home is HOME's, as everywhere here."""
    output = ssh(
        settings, "-v", "-o", "ProxyJump=none", "-o", "ProxyCommand=false", "-o", "BatchMode=yes", host
    )
    return [_in_home(Path(path)) for path in re.findall(r"identity file (.+) type -?\d+", output)]


def _in_home(path: Path) -> Path:
    return Path.home() / path.relative_to(ACCOUNT) if path.is_relative_to(ACCOUNT) else path


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_parity_with_ssh(client: Client, case: Case) -> None:
    """Name, user, port, route, alias, timeout and the files of every keyword are those of ssh."""
    settings = load_settings(client, case)
    options = ssh_options(settings, case.destination)
    config = lookup(parse_destination(case.destination, "the host"), settings, port=None)
    assert (config.host, config.user, str(config.port)) == (
        options["hostname"],
        options["user"],
        options["port"],
    )
    assert config.proxy_jump == (None if options.get("proxyjump", "none") == "none" else options["proxyjump"])
    assert config.proxy_command == options.get("proxycommand")
    assert config.host_key_alias == options.get("hostkeyalias")
    assert config.identities_only == (options["identitiesonly"] == "yes")
    assert config.alive_interval_s == int(options["serveraliveinterval"])
    assert str(config.connect_timeout_s or "none") == options["connecttimeout"]
    assert config.ask_unknown_host_keys == (options["stricthostkeychecking"] not in ("true", "yes"))
    if "IdentityFile" in case.text:
        offers = [
            path for path in ssh_identities(settings, case.destination) if not str(path).endswith("-cert")
        ]
        assert list(config.identity_files) == offers
    if "UserKnownHostsFile" in case.text:
        assert [str(path) for path in config.known_hosts[:2]] == options["userknownhostsfile"].split()


@pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if case.by_paramiko],
    ids=[name for name, case in CASES.items() if case.by_paramiko],
)
def test_parity_of_paramiko(client: Client, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ssh, Paramiko's parser gives the same result, except for default keys and algorithm lists."""
    settings = load_settings(client, case)
    destination = parse_destination(case.destination, "the host")
    with_ssh = lookup(destination, settings, port=None)
    monkeypatch.setenv("PATH", str(client.folder / "nothing"))
    without = lookup(destination, settings, port=None)
    if "IdentityFile" not in case.text:
        with_ssh, without = (replace(config, identity_files=()) for config in (with_ssh, without))
    with_ssh = replace(with_ssh, algorithms={}, ca_signature_algorithms=())
    assert without == with_ssh


def hops(route: Route) -> list[tuple[str, str, int]]:
    """Name, user and port of each hop, the nearest first."""
    return [(hop.config.host, hop.config.user, hop.config.port) for hop in route.hops]


JUMPS = """\
Host a
 HostName a.example
 User of-a
 Port 2301
Host b
 HostName b.example
 User of-b
 ProxyJump not-this-one
Host behind-a
 ProxyJump a
Host ashbury
 ProxyJump {jumps}
Host *
 User me
"""


@pytest.mark.parametrize(
    ("jumps", "jump_hosts"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        ("behind-a,b", ["a", "behind-a", "b"]),
        ("x@a:2400,b", ["a", "b"]),
        ("ssh://x@a:2400", ["a"]),
        ("none", []),
    ],
)
def test_order_of_jumps(client: Client, jumps: str, jump_hosts: list[str]) -> None:
    """A chain is followed from its first hop: only that one's own ProxyJump counts, and each is looked up like any
    host.
    """
    settings = client.settings(ssh_config=JUMPS.format(jumps=jumps))
    chain = hops(resolve_route(ConnectTarget(parse_destination("ashbury", "the host")), settings))
    expected = []
    for name in [*jump_hosts, "ashbury"]:
        options = ssh_options(settings, name)
        is_inner = "x@a" in jumps and name == "a"
        expected.append(
            (
                options["hostname"],
                "x" if is_inner else options["user"],
                2400 if is_inner else int(options["port"]),
            )
        )
    assert chain == expected


@pytest.mark.parametrize(
    "command", ["nc %h %p", "relay --as %r --to %n:%p", "echo 100%%%h", "ssh -W [%h]:%p gw"]
)
def test_proxy_command_tokens(client: Client, command: str) -> None:
    """The tokens of ProxyCommand are expanded as in ssh: `ssh -v` shows the command that it runs."""
    text = f"Host ashbury\n HostName a.example\n Port 2210\n User s1\n ProxyCommand : {command}\n"
    settings = client.settings(ssh_config=text)
    run = re.search(
        r"Executing proxy command: exec (.*)", ssh(settings, "-v", "-o", "BatchMode=yes", "ashbury")
    )
    assert run
    route = resolve_route(ConnectTarget(parse_destination("ashbury", "the host")), settings)
    assert route.command == run[1].strip()
    assert len(route.hops) == 1


LOOPS = {
    "to itself": "Host ashbury\n ProxyJump ashbury\n",
    "of two": "Host ashbury\n ProxyJump b\nHost b\n ProxyJump ashbury\n",
    "of three": "Host ashbury\n ProxyJump b\nHost b\n ProxyJump c\nHost c\n ProxyJump ashbury\n",
    "of all": "Host *\n ProxyJump gateway\n",
    "in a chain": "Host *\n ProxyJump a,b,c\n",
}


@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS)
def test_loops(client: Client, text: str) -> None:
    """A ProxyJump that leads back to itself is an invalid setting, as it is to ssh."""
    settings = client.settings(ssh_config=text)
    with pytest.raises(ConfigError) as expect_error:
        resolve_route(ConnectTarget(parse_destination("ashbury", "the host")), settings)
    message = " ".join((str(expect_error.value), expect_error.value.hint, *expect_error.value.detail))
    assert "itself" in message or "loop" in message


def test_loop_in_the_program(network: Network) -> None:
    """The program exits with 2 and a hint, before it connects to anything."""
    path = network.folder / "ssh_config"
    path.write_text("Host *\n ProxyJump gateway\n")
    network.configure(gateway=None, notebook={"host": "host"})
    assert_error(network.user.fab("-S", str(path), "secure"), 2, "loop")
    assert network.gateway.connections() == 0


@pytest.mark.parametrize(
    "text", ["Host ashbury\n NoSuchKeyword yes\n", "Host ashbury\n Port none-at-all\n", "Include {folder}\n"]
)
def test_configuration_that_ssh_refuses(client: Client, text: str) -> None:
    """A configuration that ssh cannot read is an invalid setting, with ssh's own message."""
    settings = client.settings(ssh_config=text.format(folder=client.folder))
    if "Bad configuration" not in ssh(settings, "-G", "ashbury") and "terminating" not in ssh(
        settings, "-G", "ashbury"
    ):
        assert isinstance(lookup(parse_destination("ashbury", "the host"), settings, port=None), HopConfig)
        return
    with pytest.raises(ConfigError) as expect_error:
        lookup(parse_destination("ashbury", "the host"), settings, port=None)
    assert expect_error.value.detail
    assert expect_error.value.hint
