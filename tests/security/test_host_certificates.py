"""Host certificates, and the ssh_config keywords for looking up host keys, work as in ssh(1)."""

import base64
from pathlib import Path

import paramiko
import pytest

from notebooks_over_ssh.config.schema import SSH
from notebooks_over_ssh.errors import HostKeyError
from notebooks_over_ssh.ssh.client_config import HopConfig
from notebooks_over_ssh.ssh.host_keys import HostKeyPolicy
from notebooks_over_ssh.ssh.prompting import CredentialPrompter
from tests.kit.cli import assert_error, assert_success, run
from tests.kit.mitm_sshd import AsyncioThread, mitm_server
from tests.kit.prompter import ScriptedPrompter
from tests.kit.ssh_certificates import IN_DATE, NOT_YET_IN_DATE, OUT_OF_DATE, Authority
from tests.kit.ssh_client import Client, certified_host
from tests.kit.sshd import LOOPBACK, Network, known_hosts_line, make_key, public_key, site_config

KINDS = ("ed25519", "ecdsa", "rsa")


@pytest.fixture
def site(client: Client) -> Authority:
    return Authority.new(client.folder / "site")


@pytest.mark.parametrize(
    ("kind", "of_authority"), [*zip(KINDS, KINDS, strict=True), ("ed25519", "rsa"), ("rsa", "ed25519")]
)
def test_key_types(client: Client, kind: str, of_authority: str) -> None:
    """Host keys and CAs of every type are accepted, RSA with SHA-2 signatures; there is no prompt, and nothing is
    written.
    """
    site = Authority.new(client.folder / "site", kind=of_authority)
    host = certified_host(client, site, LOOPBACK, kind=kind)
    line = f"@cert-authority * {site.public_key}"
    client.write_known_hosts(line)
    prompter = ScriptedPrompter()
    assert client.connect_error(host, prompter) is None
    assert prompter.prompts == []
    assert client.known_hosts.read_text() == f"{line}\n"


@pytest.mark.parametrize("names", ["plain", "hashed", "pattern", "list"])
def test_host_patterns(client: Client, site: Authority, names: str) -> None:
    """The CA's line matches by a plain name, a hashed one, a pattern and a list."""
    host = certified_host(client, site, LOOPBACK)
    plain = f"[{LOOPBACK}]:{host.port}"
    client.write_known_hosts(f"{plain} {site.public_key}")
    if names == "hashed":
        run("ssh-keygen", "-q", "-H", "-f", str(client.known_hosts))
        hashed_line = client.known_hosts.read_text().strip()
        assert hashed_line.startswith("|1|")
        client.write_known_hosts(f"@cert-authority {hashed_line}")
    else:
        patterns = {
            "plain": plain,
            "pattern": f"[127.*]:{host.port}",
            "list": f"a.example,{plain},!b.example",
        }
        client.write_known_hosts(f"@cert-authority {patterns[names]} {site.public_key}")
    assert client.connect_error(host) is None


@pytest.mark.parametrize(
    ("names", "dates", "for_host", "reason"),
    [
        (("elsewhere.example",), IN_DATE, True, "it is valid for elsewhere.example"),
        ((LOOPBACK,), OUT_OF_DATE, True, "it is expired or not yet valid"),
        ((LOOPBACK,), NOT_YET_IN_DATE, True, "it is expired or not yet valid"),
        ((LOOPBACK,), IN_DATE, False, "user certificate"),
    ],
    ids=["another name", "expired", "not yet", "of a user"],
)
def test_invalid_certificates(
    client: Client,
    loop: AsyncioThread,
    site: Authority,
    names: tuple[str, ...],
    dates: str,
    for_host: bool,
    reason: str,
) -> None:
    """A certificate for another name, outside its validity, or for users is refused with the reason, without a
    prompt.
    """
    key = client.folder / "host_key"
    make_key(key)
    certificate = site.sign(key, *names, dates=dates, for_host=for_host)
    client.write_known_hosts(f"@cert-authority * {site.public_key}")
    prompter = ScriptedPrompter("yes")
    with mitm_server(loop, key, certificate=certificate) as (port, _):
        client.expect_error(f"{LOOPBACK}:{port}", 5, reason, prompter=prompter)
    assert prompter.prompts == []


@pytest.mark.parametrize(
    ("names", "extra", "reason"),
    [
        (("127.0.0.9",), {}, "its signature is invalid"),
        ((), {}, "it is valid for no host"),
        ((LOOPBACK,), {"O": "critical:only-on=tuesdays"}, "it has an unknown critical option"),
    ],
    ids=["changed after it was signed", "no name", "an unknown condition"],
)
def test_malformed_certificates(
    client: Client, site: Authority, names: tuple[str, ...], extra: dict[str, str], reason: str
) -> None:
    """A certificate that was altered, has no principal, or has an unknown critical option is refused."""
    path = client.folder / "host_key"
    make_key(path)
    kind, blob = site.sign(path, *names, **extra).read_text().split()[:2]  # type: ignore[arg-type]
    # Signed for another address, presented for this one.
    changed = base64.b64decode(blob).replace(b"127.0.0.9", LOOPBACK.encode())
    key = paramiko.Ed25519Key(filename=str(path))
    key.load_certificate(f"{kind} {base64.b64encode(changed).decode()}")
    client.write_known_hosts(f"@cert-authority * {site.public_key}")
    hop = HopConfig(host=LOOPBACK, user="me", port=22, known_hosts=(client.known_hosts,))
    with pytest.raises(HostKeyError, match=reason):
        HostKeyPolicy(hop, CredentialPrompter(ScriptedPrompter("yes"))).missing_host_key(
            paramiko.SSHClient(), LOOPBACK, key
        )


def test_unknown_ca(client: Client, site: Authority) -> None:
    """A certificate of an unknown CA counts as its plain key: unknown, or known by itself."""
    host = certified_host(client, Authority.new(client.folder / "other"), LOOPBACK)
    client.write_known_hosts(f"@cert-authority * {site.public_key}")
    client.expect_error(host, 5, "is not known")
    client.write_known_hosts(f"@cert-authority * {site.public_key}", host.known_hosts_line)
    assert client.connect_error(host) is None


@pytest.mark.parametrize("revoked", ["authority", "key"])
def test_revoked(client: Client, site: Authority, revoked: str) -> None:
    """A valid certificate is refused when its CA or its key is revoked, with the line in known_hosts."""
    host = certified_host(client, site, LOOPBACK)
    revoked_key = site.public_key if revoked == "authority" else host.public_key
    client.write_known_hosts(f"@cert-authority * {site.public_key}", f"@revoked * {revoked_key}")
    prompter = ScriptedPrompter("yes")
    client.expect_error(host, 5, "revoked", f"{client.known_hosts}:2", prompter=prompter)
    assert prompter.prompts == []


def test_ca_for_other_hosts(client: Client, site: Authority) -> None:
    """A CA whose line is for other hosts has no effect."""
    host = certified_host(client, site, LOOPBACK)
    client.write_known_hosts(f"@cert-authority *.example {site.public_key}")
    client.expect_error(host, 5, "is not known")


def test_both_hops(network: Network) -> None:
    """The program accepts certificates on both hops, without plain keys in known_hosts."""
    site = Authority.new(network.folder / "site")
    for server, options in (
        (network.gateway, ("AllowTcpForwarding yes",)),
        (network.host, (network.environment(),)),
    ):
        certificate = site.sign(server.key, LOOPBACK)
        server.stop()
        server.start(f'HostCertificate "{certificate}"', *options)
    network.known_hosts.write_text(f"@cert-authority [{LOOPBACK}]:* {site.public_key}\n")
    assert_success(network.user.fab("secure"))
    network.known_hosts.write_text(
        network.known_hosts.read_text() + f"@revoked [{LOOPBACK}]:{network.host.port} {site.public_key}\n"
    )
    assert_error(network.user.fab("secure"), 5, "revoked")


def test_host_key_alias(client: Client) -> None:
    """HostKeyAlias is the name that is looked up, without a port."""
    host = client.server("host")
    client.write_known_hosts(f"alias {host.public_key}")
    assert client.connect_error("site", ssh_config=site_config(host, "HostKeyAlias alias")) is None
    client.expect_error(
        "site", 5, "key of other is not known", ssh_config=site_config(host, "HostKeyAlias other")
    )


def test_host_key_alias_of_a_certificate(client: Client, site: Authority) -> None:
    """A certificate must be for HostKeyAlias."""
    host = certified_host(client, site, "alias")
    client.write_known_hosts(f"@cert-authority * {site.public_key}")
    assert client.connect_error("site", ssh_config=site_config(host, "HostKeyAlias alias")) is None
    client.expect_error("site", 5, "it is valid for alias", ssh_config=site_config(host))


@pytest.mark.parametrize("keyword", ["UserKnownHostsFile", "GlobalKnownHostsFile"])
def test_known_hosts_files(client: Client, keyword: str) -> None:
    """Both keywords name several files; a key in any of them is known, and one revoked in any is revoked."""
    host = client.server("host")
    files = [client.folder / "one", client.folder / "two"]
    files[1].write_text(host.known_hosts_line + "\n")
    option = f"{keyword} {files[0]} {files[1]}"
    assert client.connect_error("site", ssh_config=site_config(host, option)) is None
    files[0].write_text(f"@revoked * {host.public_key}\n")
    client.expect_error("site", 5, f"{files[0]}:1", ssh_config=site_config(host, option))


def test_accepted_key_is_written_to_the_first_file(client: Client) -> None:
    """An accepted key is written to the first file of UserKnownHostsFile, and to no other."""
    host = client.server("host")
    mine, global_ = client.folder / "mine", client.folder / "global"
    ssh_config = site_config(host, f"UserKnownHostsFile {mine}", f"GlobalKnownHostsFile {global_}")
    assert client.connect_error("site", ScriptedPrompter("yes"), ssh_config=ssh_config) is None
    assert mine.read_text() == host.known_hosts_line + "\n"
    assert not global_.exists()
    assert not client.known_hosts.exists()


def test_several_keys_for_one_name(client: Client) -> None:
    """A name may have several keys of one type, as a pool has; each of them is accepted."""
    host = client.server("host")
    other = client.folder / "other"
    make_key(other)
    client.write_known_hosts(known_hosts_line(host.port, public_key(other)), host.known_hosts_line)
    assert client.connect_error(host) is None
    client.write_known_hosts(
        known_hosts_line(host.port, public_key(other)), known_hosts_line(host.port, public_key(other))
    )
    client.expect_error(host, 5, "does not match the one")


@pytest.mark.parametrize("word", ["yes", "true", "Yes"])
def test_strict_host_key_checking(client: Client, word: str) -> None:
    """`StrictHostKeyChecking yes` refuses without a prompt."""
    host = client.server("host")
    prompter = ScriptedPrompter("yes")
    client.expect_error(
        "site",
        5,
        "is not known",
        prompter=prompter,
        ssh_config=site_config(host, f"StrictHostKeyChecking {word}"),
    )
    assert prompter.prompts == []


@pytest.mark.parametrize("word", ["no", "off", "accept-new", "ask"])
def test_lax_host_key_checking(client: Client, word: str) -> None:
    """With every value of StrictHostKeyChecking an unknown key needs a confirmation, and is refused without a
    terminal.
    """
    host = client.server("host")
    prompter = ScriptedPrompter()
    ssh_config = site_config(host, f"StrictHostKeyChecking {word}")
    client.expect_error("site", 5, "is not known", prompter=prompter, ssh_config=ssh_config)
    assert len(prompter.prompts) == 1
    assert host.fingerprint() in prompter.prompts[0]


def test_strict_host_key_checking_at_a_terminal(network: Network) -> None:
    """With -S and `StrictHostKeyChecking yes` there is no prompt at a terminal either."""
    network.known_hosts.write_text("")
    path = network.folder / "ssh_config"
    path.write_text(network.ssh_config() + "    StrictHostKeyChecking yes\n")
    network.configure(gateway=None, connect_kwargs={}, notebook={"host": "host"})
    with network.user.at_terminal("fab", "-S", str(path), "secure") as terminal:
        assert terminal.end() == 5, terminal.output
    assert "[yes/no" not in terminal.output


def test_pins(client: Client, tmp_path: Path) -> None:
    """With a fingerprint in ssh.host_keys nothing else counts: the right key needs no prompt, a wrong one is refused
    whatever known_hosts has.
    """
    host = client.server("host")
    other = tmp_path / "other"
    make_key(other)
    right = SSH(host_keys={LOOPBACK: [host.fingerprint()]})
    wrong = SSH(host_keys={LOOPBACK: ["SHA256:" + "A" * 43]})
    prompter = ScriptedPrompter("yes", "yes")
    assert client.connect_error(host, prompter, ssh=right) is None
    client.write_known_hosts(host.known_hosts_line)
    client.expect_error(host, 5, "ssh.host_keys", host.fingerprint(), prompter=prompter, ssh=wrong)
    client.write_known_hosts(f"@revoked * {host.public_key}")
    client.expect_error(host, 5, "revoked", prompter=prompter, ssh=right)
    assert prompter.prompts == []
