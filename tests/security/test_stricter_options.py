"""An option of ssh_config for stricter checks works as in ssh(1), or is refused by name."""

import shutil
from typing import Any

import pytest

from notebooks_over_ssh.config.schema import SSH, Notebook
from notebooks_over_ssh.ssh.client_options import FORMER_NAMES, known_options
from notebooks_over_ssh.ssh.protocol.packet_encryption import REKEY_AFTER_BYTES
from notebooks_over_ssh.ssh.protocol.packetizer import BlockPacketizer
from tests.kit.cli import assert_error, assert_success, run
from tests.kit.prompter import ScriptedPrompter
from tests.kit.ssh_certificates import Authority
from tests.kit.ssh_client import Client, certified_host
from tests.kit.sshd import LOOPBACK, Network, Server, make_key, site_config
from tests.kit.wait import wait_until


def write_known_hosts(client: Client, host: Server) -> None:
    client.write_known_hosts(host.known_hosts_line)


def ssh(client: Client, text: str) -> tuple[int, str]:
    """The result of `ssh site true` with the configuration."""
    path = client.folder / "for_ssh"
    files = f"    UserKnownHostsFile {client.known_hosts}\n" if "UserKnownHostsFile" not in text else ""
    path.write_text(f"{text}{files}    GlobalKnownHostsFile /dev/null\n    IdentityFile {client.key}\n")
    result = run("ssh", "-F", str(path), "-o", "BatchMode=yes", "site", "true", check=False)
    return result.returncode, result.stderr


def test_every_option_is_classified() -> None:
    """Every option in the output of `ssh -G`, and in the manual, is honoured, refused or irrelevant."""
    if shutil.which("ssh") is None:
        pytest.skip("needs the program ssh (OpenSSH client)")
    output = run("ssh", "-F", "none", "-G", "host.invalid").stdout
    names = {line.partition(" ")[0].lower() for line in output.splitlines()}
    assert len(names) > 50
    assert {FORMER_NAMES.get(name, name) for name in names} <= known_options()


def test_verify_host_key_dns(client: Client) -> None:
    """VerifyHostKeyDNS is refused by name before anything is connected to."""
    host = client.server("host")
    write_known_hosts(client, host)
    for value in ("yes", "ask"):
        client.expect_error(
            "site", 2, "verifyhostkeydns", ssh_config=site_config(host, f"VerifyHostKeyDNS {value}")
        )
    assert client.connect_error("site", ssh_config=site_config(host, "VerifyHostKeyDNS no")) is None


@pytest.mark.parametrize("form", ["text", "list"])
@pytest.mark.parametrize("revoked", ["key", "authority", "another"])
def test_revoked_host_keys(client: Client, form: str, revoked: str) -> None:
    """A key in RevokedHostKeys is refused, and so is a certificate whose CA is: in a text file or a KRL."""
    site = Authority.new(client.folder / "site")
    host = certified_host(client, site, LOOPBACK)
    client.write_known_hosts(f"@cert-authority * {site.public_key}")
    other = client.folder / "other"
    make_key(other)
    revoked_key = {"key": host.key, "authority": site.key, "another": other}[revoked].with_suffix(".pub")
    file = client.folder / "revo ked"
    if form == "text":
        file.write_text(f"# of the site\n{revoked_key.read_text()}")
    else:
        command = ["ssh-keygen", "-q", "-k", "-f", str(file), str(revoked_key)]
        run(*command)
    text = site_config(host, f'RevokedHostKeys "{file}"')
    assert (ssh(client, text)[0] == 0) == (revoked == "another")
    if revoked == "another":
        assert client.connect_error("site", ssh_config=text) is None
    else:
        client.expect_error("site", 5, "revoked", str(file), ssh_config=text)


@pytest.mark.parametrize("content", [None, b"SSHKRL\n\0 and nonsense"], ids=["missing", "nonsense"])
def test_unreadable_revoked_host_keys(client: Client, content: bytes | None) -> None:
    """An unreadable RevokedHostKeys file revokes every key, as in ssh."""
    host = client.server("host")
    write_known_hosts(client, host)
    file = client.folder / "revoked"
    if content is not None:
        file.write_bytes(content)
    text = site_config(host, f"RevokedHostKeys {file}")
    assert ssh(client, text)[0] == 255
    client.expect_error("site", 5, str(file), ssh_config=text)


@pytest.mark.parametrize(
    ("how", "option"),
    [
        ({"t": "ssh-rsa"}, ""),
        ({"t": "ssh-rsa"}, "CASignatureAlgorithms +ssh-rsa"),
        ({"t": "rsa-sha2-256"}, "CASignatureAlgorithms rsa-sha2-512,ssh-ed25519"),
    ],
    ids=["SHA-1", "SHA-1 allowed", "left out"],
)
def test_ca_signature_algorithms(client: Client, how: dict[str, str], option: str) -> None:
    """A certificate signed with SHA-1, or with an algorithm that CASignatureAlgorithms omits, is refused."""
    site = Authority.new(client.folder / "site", kind="rsa")
    host = certified_host(client, site, LOOPBACK, **how)
    client.write_known_hosts(f"@cert-authority * {site.public_key}")
    client.expect_error("site", 5, f"signed with {how['t']}", ssh_config=site_config(host, option))


@pytest.mark.parametrize("bits", [2048, 3072])
def test_required_rsa_size(client: Client, bits: int) -> None:
    """An RSA host key smaller than RequiredRSASize is refused, even a known one."""
    host = client.server("host")
    host.stop()
    host.key.unlink()
    command = ["ssh-keygen", "-q", "-t", "rsa", "-b", str(bits), "-N", "", "-f", str(host.key)]
    run(*command, stdin="y\n")
    host.start()
    write_known_hosts(client, host)
    text = site_config(host, "RequiredRSASize 3072")
    assert ssh(client, text)[0] == (0 if bits == 3072 else 255)
    if bits == 3072:
        assert client.connect_error("site", ssh_config=text) is None
    else:
        client.expect_error("site", 5, "but RequiredRSASize is 3072", ssh_config=text)


@pytest.mark.parametrize(("bits", "is_good"), [(3072, True), (8192, False)])
def test_required_rsa_size_of_a_ca(client: Client, bits: int, is_good: bool) -> None:
    """A CA's RSA key that is smaller than RequiredRSASize is refused; ssh checks only the host's key."""
    site = Authority.new(client.folder / "site", kind="rsa")
    host = certified_host(client, site, LOOPBACK)
    client.write_known_hosts(f"@cert-authority * {site.public_key}")
    text = site_config(host, f"RequiredRSASize {bits}")
    if is_good:
        assert client.connect_error("site", ssh_config=text) is None
    else:
        client.expect_error("site", 5, "authority's RSA key has 3072 bits", ssh_config=text)


def test_required_rsa_size_of_own_keys(client: Client) -> None:
    """A user's key smaller than RequiredRSASize is not offered, and the error says so."""
    host = client.server("host")
    write_known_hosts(client, host)
    client.key.unlink()
    client.key.with_suffix(".pub").unlink()
    make_key(client.key, kind="rsa")
    shutil.copy(client.key.with_suffix(".pub"), client.authorized_keys)
    assert client.connect_error("site", ssh_config=site_config(host)) is None
    client.expect_error(
        "site",
        4,
        "not allowed by PubkeyAcceptedAlgorithms",
        ssh_config=site_config(host, "RequiredRSASize 8192"),
    )


def test_batch_mode(client: Client) -> None:
    """With `BatchMode yes` there is no prompt, neither for a host key nor for a passphrase."""
    host = client.server("host")
    prompter = ScriptedPrompter("yes", "yes")
    client.expect_error(
        "site", 5, "is not known", prompter=prompter, ssh_config=site_config(host, "BatchMode yes")
    )
    write_known_hosts(client, host)
    client.key.unlink()
    make_key(client.key.with_name("other"), passphrase="a passphrase")  # another key than the test's
    locked = site_config(host, "BatchMode yes", f"IdentityFile {client.key.with_name('other')}")
    client.expect_error("site", 4, prompter=prompter, ssh_config=locked)
    assert prompter.prompts == []


def test_user_known_hosts_file_none(client: Client) -> None:
    """With `UserKnownHostsFile none` an accepted key is accepted for this run and written nowhere, not even to the
    global file.
    """
    host = client.server("host")
    global_ = client.folder / "global"
    global_.write_text("")
    text = site_config(host, "UserKnownHostsFile none", f"GlobalKnownHostsFile {global_}")
    assert client.connect_error("site", ScriptedPrompter("yes"), ssh_config=text) is None
    assert global_.read_text() == ""
    assert not client.known_hosts.exists()


def test_known_hosts_with_a_space(client: Client) -> None:
    """A known_hosts file whose path contains a space is read and written."""
    host = client.server("host")
    folder = client.folder / "a folder"
    folder.mkdir()
    files = [folder / "known hosts", folder / "more"]
    text = site_config(host, f'UserKnownHostsFile "{files[0]}" "{files[1]}"')
    assert client.connect_error("site", ScriptedPrompter("yes"), ssh_config=text) is None
    assert files[0].read_text() == host.known_hosts_line + "\n"
    assert ssh(client, text)[0] == 0
    files[0].rename(files[1])
    assert client.connect_error("site", ssh_config=text) is None


LINES = {
    "good": ("{name} {key}\n", True),
    "no end of line": ("{name} {key}", True),
    "end of Windows": ("{name} {key}\r\n", True),
    "tabs": ("  {name}\t{key}\n", True),
    "malformed first": (
        "{name} ssh-ed25519 AAAA!\n{name} ssh-ed25519 AAAA\n{name} ssh-ed25519\n{name} {key}\n",
        True,
    ),
    "malformed only": ("{name} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA\n", False),
    "another type": ("{name} ssh-rsa {base64}\n", False),
    "unknown marker": ("@trusted {name} {key}\n", False),
    "comment": ("# {name} {key}\n", False),
    "vertical tab": ("# nothing\x0b{name} {key}\n", False),
    "form feed": ("# nothing\x0c{name} {key}\n", False),
    "carriage return": ("# nothing\r{name} {key}\n", False),
    "next line": ("# nothing\x85{name} {key}\n", False),
    "line separator": ("# nothing\u2028{name} {key}\n", False),
    "other blanks": ("{name}\xa0{key}\n", False),
    "no Unicode": ("# \udcff\udcfe\n{name} {key}\n", True),
}


@pytest.mark.parametrize(("text", "is_known"), LINES.values(), ids=LINES)
def test_lines_of_known_hosts(client: Client, text: str, is_known: bool) -> None:
    """A line of known_hosts ends only at a newline, and a malformed line is skipped, as in ssh."""
    host = client.server("host")
    name, base64 = f"[{LOOPBACK}]:{host.port}", host.public_key.split()[1]
    content = text.format(name=name, key=host.public_key, base64=base64)
    client.known_hosts.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert (ssh(client, site_config(host))[0] == 0) == is_known
    if is_known:
        assert client.connect_error("site", ssh_config=site_config(host)) is None
    else:
        client.expect_error("site", 5, "is not known", ssh_config=site_config(host))


def test_known_hosts_command(client: Client) -> None:
    """The output of KnownHostsCommand counts like lines of known_hosts, revoked keys too; if it fails, the host is
    refused.
    """
    host = client.server("host")
    lines = client.folder / "lines"
    program = client.folder / "program"
    program.write_text(f'#!/bin/sh\necho "$@" >> {client.folder}/asked\ncat {lines}\n')
    program.chmod(0o755)
    text = site_config(host, f"KnownHostsCommand {program} %I %H %t")
    client.expect_error("site", 5, "KnownHostsCommand", ssh_config=text)
    assert ssh(client, text)[0] == 255
    lines.write_text(host.known_hosts_line + "\n")
    (client.folder / "asked").unlink()
    assert ssh(client, text)[0] == 0
    by_ssh = (client.folder / "asked").read_text().splitlines()
    (client.folder / "asked").unlink()
    assert client.connect_error("site", ssh_config=text) is None
    ours = (client.folder / "asked").read_text().splitlines()
    assert set(ours) <= set(by_ssh)
    assert f"HOSTNAME [{LOOPBACK}]:{host.port} ssh-ed25519" in ours
    lines.write_text(f"@revoked * {host.public_key}\n{host.known_hosts_line}\n")
    client.expect_error("site", 5, "revoked", ssh_config=text)


@pytest.mark.parametrize(
    ("option", "allowed", "none"),
    [
        ("Ciphers", "aes256-ctr", "aes128-cbc,3des-cbc"),
        ("Ciphers", "chacha20-poly1305@openssh.com", "aes256-cbc"),
        ("KexAlgorithms", "ecdh-sha2-nistp256", "sntrup761x25519-sha512@openssh.com"),
        ("HostKeyAlgorithms", "ssh-ed25519", "sk-ssh-ed25519@openssh.com"),
        ("MACs", "hmac-sha2-512", "umac-128@openssh.com"),
    ],
)
def test_algorithms(client: Client, option: str, allowed: str, none: str) -> None:
    """Only algorithms that ssh's configuration allows are negotiated; if none is left, the error names the option."""
    host = client.server("host")
    write_known_hosts(client, host)
    extra = ("Ciphers aes128-ctr",) if option == "MACs" else ()
    with client.connected("site", ssh_config=site_config(host, f"{option} {allowed}", *extra)) as connection:
        transport = connection.transport
        agreed = (
            transport.remote_cipher,
            transport.remote_mac,
            transport.host_key_type,
            *transport.preferred_kex[:1],
        )
        assert allowed in agreed
    client.expect_error("site", 2, "none of the", ssh_config=site_config(host, f"{option} {none}", *extra))


@pytest.mark.parametrize("limit", ["64K", "default 1", "64G 1d"])
def test_rekey_limit(client: Client, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """A key exchange starts after the bytes or seconds of RekeyLimit; a limit above ours changes nothing."""
    exchanges: list[float] = []
    take = BlockPacketizer.set_inbound_cipher

    def count(self: BlockPacketizer, *arguments: Any, **more: Any) -> None:
        exchanges.append(self.REKEY_BYTES)
        take(self, *arguments, **more)

    monkeypatch.setattr(BlockPacketizer, "set_inbound_cipher", count)
    host = client.server("host")
    write_known_hosts(client, host)
    with client.connected("site", ssh_config=site_config(host, f"RekeyLimit {limit}")) as connection:

        def have_new_keys() -> bool:
            connection.run("head -c 300000 /dev/zero | tr '\\0' x", hide=True, in_stream=False)
            return len(exchanges) >= 3

        if limit.startswith("64G"):
            assert not have_new_keys()
            assert exchanges == [REKEY_AFTER_BYTES]
        else:
            wait_until(have_new_keys, "a key exchange has ended")


@pytest.mark.parametrize(
    ("option", "wants"),
    [
        ("PubkeyAuthentication no", "ssh_config allows none"),
        ("PreferredAuthentications password", "ssh_config allows none"),
        ("PubkeyAcceptedAlgorithms rsa-sha2-512", "not allowed by PubkeyAcceptedAlgorithms"),
    ],
)
def test_login_methods(client: Client, option: str, wants: str) -> None:
    """No key is offered where ssh's configuration forbids it."""
    host = client.server("host")
    write_known_hosts(client, host)
    text = site_config(host, option)
    assert ssh(client, text)[0] == 255
    client.expect_error("site", 4, wants, ssh_config=text)
    assert host.logins() == 0


@pytest.mark.parametrize("name", ["SITE", "Site", LOOPBACK])
def test_pins_by_any_name(client: Client, name: str) -> None:
    """A pin counts under the name that the user gave and under HostName, in any case; with pins under both, both must
    match.
    """
    host = client.server("host")
    write_known_hosts(client, host)
    wrong = SSH(host_keys={name: ["SHA256:" + "A" * 43]})
    client.expect_error("site", 5, "ssh.host_keys", ssh=wrong, ssh_config=site_config(host))
    right = SSH(host_keys={name: [host.fingerprint()]})
    assert client.connect_error("site", ssh=right, ssh_config=site_config(host)) is None
    other = "site" if name == LOOPBACK else LOOPBACK
    both = SSH(host_keys=right.host_keys | {other: ["SHA256:" + "A" * 43]})
    client.expect_error("site", 5, "ssh.host_keys", ssh=both, ssh_config=site_config(host))


def test_unused_pins(client: Client) -> None:
    """A pin that matches no hop is refused by name, with the hops; one for the host or gateway of the settings is
    not.
    """
    host = client.server("host")
    write_known_hosts(client, host)
    pin = ["SHA256:" + "A" * 43]
    client.expect_error("site", 2, "stie", ssh=SSH(host_keys={"stie": pin}), ssh_config=site_config(host))
    pins = SSH(host_keys={"elsewhere": pin})
    assert (
        client.connect_error(
            "site", notebook=Notebook(host="elsewhere"), ssh=pins, ssh_config=site_config(host)
        )
        is None
    )


@pytest.mark.parametrize("canonical", ["", "\n CanonicalDomains example.invalid"])
@pytest.mark.parametrize("own", [True, False], ids=["~/.ssh/config", "-S"])
def test_canonicalize_hostname(network: Network, canonical: str, own: bool) -> None:
    """With CanonicalizeHostname, -H leads to the same host as with ssh; with -S and no CanonicalDomains, it is
    refused by name.
    """
    path = network.home / ".ssh" / ("config" if own else "another")
    path.write_text(f"{network.ssh_config()} CanonicalizeHostname yes{canonical}\n")
    network.configure(gateway=None, connect_kwargs={})
    # Fabric reads the file of -S too, and cannot look -H up in it.
    words = ("-H", "host", "secure") if own else ("-S", str(path), "secure", "--host", "host")
    assert_success(network.user.fab(*words))
    if not own:
        result = network.user.fab("-S", str(path), "-H", "host", "secure")
        assert_success(result) if canonical else assert_error(result, 2, "CanonicalizeHostname", str(path))
