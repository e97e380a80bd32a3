"""Security keys log in with one touch a hop, which is asked for in words, and never asked for in vain."""

from getpass import getuser
from pathlib import Path

import pytest

from tests.kit.cli import assert_error, assert_success
from tests.kit.prompter import ScriptedPrompter
from tests.kit.security_keys import DUMMY_PROVIDER, helper_with_pin, make_security_key
from tests.kit.ssh_agent import ssh_agent
from tests.kit.ssh_certificates import Authority
from tests.kit.ssh_client import Client
from tests.kit.sshd import Network, Server, make_key, site_config
from tests.kit.two_hops import TwoHops

KINDS = ("ed25519-sk", "ecdsa-sk")
PROVIDER = f"SecurityKeyProvider {DUMMY_PROVIDER}"
PIN = "314159"
PASSPHRASE = "a passphrase of the tests"


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of security key."""
    value: str = request.param
    return value


@pytest.fixture
def key(client: Client) -> Path:
    """Where the test's key is created."""
    return client.folder / "key"


def host(client: Client, *options: str) -> Server:
    server = client.server("host", *options)
    client.write_known_hosts(server.known_hosts_line)
    return server


def test_two_hops(client: Client, key: Path, kind: str) -> None:
    """A key file logs in to both hops, with one request for a touch each that names the account and the key."""
    client.authorized_keys.write_text(make_security_key(key, kind))
    hops = TwoHops(client)
    prompter = ScriptedPrompter()
    ssh_config = f"Host *\n    {PROVIDER}\n    IdentityFile {key}\n"
    with hops.connected(ssh_config=ssh_config, prompter=prompter) as connection:
        assert connection.run("echo yes", hide=True, in_stream=False).stdout == "yes\n"
    assert prompter.banner_lines == [
        f"touch your security key to log in to {getuser()}@{server.destination} ({key})"
        for server in (hops.gateway, hops.host)
    ]
    assert prompter.prompts == []


def test_agent(client: Client, key: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A security key of the agent logs in, also with a certificate; neither needs the key's file."""
    authority = Authority.new(client.folder / "users")
    client.authorized_keys.write_text(make_security_key(key, kind))
    server = host(client, f'TrustedUserCAKeys "{authority.key}.pub"')
    monkeypatch.setenv("SSH_SK_PROVIDER", str(DUMMY_PROVIDER))
    for with_certificate in (False, True):
        if with_certificate:
            client.authorized_keys.write_text("")
            authority.sign(key, getuser(), for_host=False)
        folder = client.folder / f"agent_{with_certificate}"
        folder.mkdir()
        with ssh_agent(folder, key) as path:
            prompter = ScriptedPrompter()
            lines = (f"IdentityAgent {path}", f"IdentityFile {client.folder / 'nowhere'}")
            assert client.connect_error("site", prompter, ssh_config=site_config(server, *lines)) is None
        assert len(prompter.banner_lines) == 1
        assert "(agent: " in prompter.banner_lines[0]
    assert server.log.read_text().count("-CERT") >= 1


def test_certificate(client: Client, key: Path, kind: str) -> None:
    """The certificates beside the key and in CertificateFile are offered with it; one of another key is not."""
    authority = Authority.new(client.folder / "users")
    other = client.folder / "other"
    for path in (key, other):
        make_security_key(path, kind)
    client.authorized_keys.write_text("")
    server = host(client, f'TrustedUserCAKeys "{authority.key}.pub"')
    of_other = authority.sign(other, getuser(), for_host=False)
    lines = [PROVIDER, f"IdentityFile {key}", f"CertificateFile {of_other}"]
    prompter = ScriptedPrompter()
    client.expect_error(
        "site", 4, f"publickey ({key})", prompter=prompter, ssh_config=site_config(server, *lines)
    )
    assert prompter.banner_lines == []
    own = authority.sign(key, getuser(), for_host=False)
    assert client.connect_error("site", prompter, ssh_config=site_config(server, *lines)) is None
    elsewhere = own.rename(client.folder / "elsewhere.pub")
    lines.append(f"CertificateFile {elsewhere}")
    assert client.connect_error("site", prompter, ssh_config=site_config(server, *lines)) is None
    assert [line.partition("(")[2] for line in prompter.banner_lines] == [
        f"{key} with {own})",
        f"{key} with {elsewhere})",
    ]


def test_passphrase(client: Client, key: Path, kind: str) -> None:
    """A passphrase is asked for before the touch, and a wrong one is reported as such."""
    client.authorized_keys.write_text(make_security_key(key, kind, passphrase=PASSPHRASE))
    server = host(client)
    ssh_config = site_config(server, PROVIDER, f"IdentityFile {key}")
    prompter = ScriptedPrompter(PASSPHRASE)
    assert client.connect_error("site", prompter, ssh_config=ssh_config) is None
    assert prompter.hidden_prompts == [f"passphrase for {key}:"]
    assert len(prompter.banner_lines) == 1
    wrong = ScriptedPrompter("wrong")
    client.expect_error("site", 4, "wrong passphrase", prompter=wrong, ssh_config=ssh_config)
    assert wrong.banner_lines == []


def test_unaccepted_key(client: Client, key: Path, kind: str) -> None:
    """No touch is asked for a key that the host does not accept, and the next key logs in."""
    make_security_key(key, kind)
    server = host(client)
    prompter = ScriptedPrompter()
    ssh_config = site_config(server, PROVIDER, f"IdentityFile {key}", f"IdentityFile {client.key}")
    assert client.connect_error("site", prompter, ssh_config=ssh_config) is None
    assert prompter.banner_lines == []


def test_without_terminal(client: Client, key: Path, kind: str) -> None:
    """Nothing waits for a touch where nobody can be asked for it; a key that requires none logs in."""
    public_key = make_security_key(key, kind)
    client.authorized_keys.write_text(public_key)
    server = host(client)
    ssh_config = site_config(server, PROVIDER, f"IdentityFile {key}", "BatchMode yes")
    prompter = ScriptedPrompter()
    client.expect_error(
        "site", 4, f"{key} (no terminal to ask for its touch)", prompter=prompter, ssh_config=ssh_config
    )
    untouched = client.folder / "untouched"
    public_key = make_security_key(untouched, kind, "no-touch-required")
    client.authorized_keys.write_text(f"no-touch-required {public_key}")
    ssh_config = site_config(server, PROVIDER, f"IdentityFile {untouched}", "BatchMode yes")
    assert client.connect_error("site", prompter, ssh_config=ssh_config) is None
    assert prompter.banner_lines == []


def test_authenticator_fails(client: Client, key: Path, kind: str) -> None:
    """Without the authenticator, the login goes on with the next key, and the error says what happened."""
    client.authorized_keys.write_text(make_security_key(key, kind))
    server = host(client)
    other = client.folder / "other"
    make_key(other)
    lines = (f"SecurityKeyProvider {client.folder / 'nowhere.so'}", f"IdentityFile {key}")
    reason = f"{key} (accepted, but not touched in time or not plugged in)"
    client.expect_error(
        "site", 4, reason, prompter=ScriptedPrompter(), ssh_config=site_config(server, *lines)
    )
    with client.authorized_keys.open("a") as file:
        file.write(other.with_suffix(".pub").read_text())
    ssh_config = site_config(server, *lines, f"IdentityFile {other}")
    assert client.connect_error("site", ScriptedPrompter(), ssh_config=ssh_config) is None


def test_pin(client: Client, key: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that requires a PIN asks for it before the touch, once for both hops; a wrong one is not sent again."""
    client.authorized_keys.write_text(make_security_key(key, kind, "verify-required"))
    program, requests = helper_with_pin(client.folder, PIN)
    monkeypatch.setenv("SSH_SK_HELPER", str(program))
    hops = TwoHops(client)
    ssh_config = f"Host *\n    {PROVIDER}\n    IdentityFile {key}\n"
    prompter = ScriptedPrompter(PIN)
    with hops.connected(ssh_config=ssh_config, prompter=prompter) as connection:
        assert connection.run("echo yes", hide=True, in_stream=False).stdout == "yes\n"
    assert prompter.hidden_prompts == [f"PIN for the security key {key}:"]
    assert len(prompter.banner_lines) == 2
    requests.unlink()
    prompter = ScriptedPrompter("wrong")
    ssh_config = site_config(hops.host, PROVIDER, f"IdentityFile {key}")
    client.expect_error("site", 4, "a wrong PIN", prompter=prompter, ssh_config=ssh_config)
    # ssh-agent tries without a PIN first.
    assert requests.read_text() == "a request\n" * 2
    assert len(prompter.prompts) == 1


@pytest.mark.parametrize("option", ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"])
def test_allowed_algorithms(client: Client, key: Path, kind: str, option: str) -> None:
    """PubkeyAcceptedAlgorithms may allow one kind of security key only."""
    client.authorized_keys.write_text(make_security_key(key, kind))
    server = host(client)
    lines = (PROVIDER, f"IdentityFile {key}", f"PubkeyAcceptedAlgorithms {option}")
    prompter = ScriptedPrompter()
    error = client.connect_error("site", prompter, ssh_config=site_config(server, *lines))
    is_allowed = ("ed25519" in option) == ("ed25519" in kind)
    assert (error is None) == is_allowed
    assert len(prompter.banner_lines) == is_allowed


def test_whole_program(network: Network) -> None:
    """`up` in a terminal asks for one touch a hop, by account, and then other commands for none; without a terminal the
    error says what is missing.
    """
    key = network.home / ".ssh" / "id_ed25519_sk"
    network.authorized_keys.write_text(make_security_key(key, "ed25519-sk"))
    (network.home / ".ssh" / "config").write_text(f"Host *\n    {PROVIDER}\n")
    network.configure(connect_kwargs={"key_filename": str(key)})
    assert_error(network.user.fab("secure"), 4, f"{key} (no terminal to ask for its touch)")
    with network.user.at_terminal("fab", "up", "--password-file", network.password_file()) as terminal:
        terminal.expect(r"ready.* https://")
        touches = [line for line in terminal.output.splitlines() if "touch your security key" in line]
        assert len(touches) == 2, terminal.output
        for line, hop in zip(touches, (network.gateway, network.host), strict=True):
            assert f"log in to {getuser()}@{hop.destination} (" in line
        assert_success(network.user.fab("logs"))
        terminal.interrupt()
        terminal.expect(r"stop the server on \S+ too\?")
        terminal.type("y")
        assert terminal.end() == 0, terminal.output
