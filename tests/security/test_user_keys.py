"""Which keys are offered, in which format, with which certificates, according to the hop's own log."""

import re
import shutil
from getpass import getuser
from pathlib import Path

import pytest

from tests.kit.cli import assert_error, assert_success, run
from tests.kit.prompter import ScriptedPrompter
from tests.kit.ssh_agent import ssh_agent
from tests.kit.ssh_certificates import OUT_OF_DATE, Authority
from tests.kit.ssh_client import Client
from tests.kit.sshd import Network, Server, fingerprint, make_key, site_config

KINDS = ("ed25519", "ecdsa", "rsa")
# ssh-keygen writes ed25519 keys in OpenSSH's format only.
FORMS = [
    ("ed25519", "OpenSSH"),
    *((kind, form) for kind in ("ecdsa", "rsa") for form in ("OpenSSH", "PEM", "PKCS8")),
]
PASSPHRASE = "a passphrase of the tests"
TIMEOUT_S = 20


def host(client: Client, *options: str) -> Server:
    """A host whose key is known, and whose log has every key that it is offered."""
    server = client.server("host", "MaxAuthTries 6", *options)
    client.write_known_hosts(server.known_hosts_line)
    return server


def offered_keys(server: Server) -> list[str]:
    """The fingerprints of all offered keys, in their order."""
    lines = server.log.read_text().splitlines()
    fingerprints = [
        re.search(r"(?:Accepted|Failed) publickey for \S+ from .* ssh2: \S+ (SHA256:\S+)", line)
        for line in lines
    ]
    return [match[1] for match in fingerprints if match]


def new_keys(client: Client, number: int) -> list[Path]:
    """Keys that no host accepts."""
    paths = [client.folder / f"key_{index}" for index in range(number)]
    for key in paths:
        make_key(key)
    return paths


def test_agent_alone(client: Client) -> None:
    """A key that only the agent has is accepted, also after others that are not."""
    server = host(client)
    others = new_keys(client, 2)
    with ssh_agent(client.folder, *others, client.key) as path, pytest.MonkeyPatch.context() as patch:
        expected = [fingerprint(key) for key in (*others, client.key)]
        for file in (client.key, client.key.with_suffix(".pub")):
            file.unlink()
        patch.setenv("SSH_AUTH_SOCK", path)
        assert client.connect_error(server) is None
    assert offered_keys(server) == expected


def test_identities_only(client: Client) -> None:
    """With IdentitiesOnly the agent's keys that no IdentityFile names are not offered; naming the .pub is enough."""
    server = host(client)
    others = new_keys(client, 3)
    public = client.folder / "public"
    shutil.copy(client.key.with_suffix(".pub"), f"{public}.pub")
    with ssh_agent(client.folder, *others, client.key) as path:
        expected = [fingerprint(client.key)]
        for file in (client.key, client.key.with_suffix(".pub")):
            file.unlink()
        for identity_file in (public, Path(f"{public}.pub")):
            ssh_config = site_config(
                server, "IdentitiesOnly yes", f"IdentityFile {identity_file}", f"IdentityAgent {path}"
            )
            assert client.connect_error("site", ssh_config=ssh_config) is None
    assert offered_keys(server) == expected * 2


def test_named_key_of_the_agent_comes_first(client: Client) -> None:
    """A key that IdentityFile names is offered before the agent's others, as in ssh, and so within the host's limit."""
    server = host(client)
    with ssh_agent(client.folder, *new_keys(client, 7), client.key) as path:
        ssh_config = site_config(server, f"IdentityFile {client.key}", f"IdentityAgent {path}")
        assert client.connect_error("site", ssh_config=ssh_config) is None
    assert offered_keys(server) == [fingerprint(client.key)]


def test_identity_agent(client: Client) -> None:
    """IdentityAgent wins over SSH_AUTH_SOCK, and `none` means no agent."""
    server = host(client)
    (other,) = new_keys(client, 1)
    nowhere = f"IdentityFile {client.folder / 'nowhere'}"
    with ssh_agent(client.folder, client.key) as path, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSH_AUTH_SOCK", str(client.folder / "no such agent"))
        assert (
            client.connect_error("site", ssh_config=site_config(server, f"IdentityAgent {path}", nowhere))
            is None
        )
        patch.setenv("OF_MINE", path)
        assert (
            client.connect_error("site", ssh_config=site_config(server, "IdentityAgent $OF_MINE", nowhere))
            is None
        )
        patch.setenv("SSH_AUTH_SOCK", path)
        assert (
            client.connect_error(
                "site", ssh_config=site_config(server, "IdentityAgent SSH_AUTH_SOCK", nowhere)
            )
            is None
        )
        client.expect_error(
            "site", 4, "no key was found", ssh_config=site_config(server, "IdentityAgent none", nowhere)
        )
    assert fingerprint(other) not in offered_keys(server)


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_key_formats(client: Client, kind: str, form: str) -> None:
    """A private key of every type is read in every format that ssh-keygen writes, plain and with a passphrase."""
    server = host(client)
    key = client.folder / "in_a_form"
    in_form = [] if form == "OpenSSH" else ["-m", form]
    run("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key, *in_form)
    shutil.copy(key.with_suffix(".pub"), client.authorized_keys)
    ssh_config = site_config(server, f"IdentityFile {key}")
    assert client.connect_error("site", ssh_config=ssh_config) is None
    run("ssh-keygen", "-q", "-p", "-a", "1", "-P", "", "-N", PASSPHRASE, "-f", key, *in_form)
    prompter = ScriptedPrompter(PASSPHRASE)
    assert client.connect_error("site", prompter, ssh_config=ssh_config) is None
    assert prompter.prompts == [f"passphrase for {key}:"]
    client.expect_error(
        "site", 4, "wrong passphrase", prompter=ScriptedPrompter("wrong"), ssh_config=ssh_config
    )
    client.expect_error("site", 4, "encrypted, and no terminal", ssh_config=ssh_config)


@pytest.fixture
def users(client: Client) -> Authority:
    """The CA that signs users' keys; the host accepts no plain key."""
    authority = Authority.new(client.folder / "users")
    client.authorized_keys.write_text("")
    return authority


def certifying(client: Client, users: Authority) -> Server:
    return host(client, f'TrustedUserCAKeys "{users.key}.pub"')


@pytest.mark.parametrize("kind", KINDS)
def test_certificate_beside_the_key(client: Client, users: Authority, kind: str) -> None:
    """KEY-cert.pub beside a key of every type is offered with it."""
    key = client.folder / "key"
    make_key(key, kind=kind)
    users.sign(key, getuser(), for_host=False)
    server = certifying(client, users)
    assert client.connect_error("site", ssh_config=site_config(server, f"IdentityFile {key}")) is None
    assert "-CERT" in server.log.read_text()


def test_certificate_file(client: Client, users: Authority) -> None:
    """CertificateFile names a certificate elsewhere; one of another key, or a missing one, is ignored."""
    (other,) = new_keys(client, 1)
    certificate = users.sign(client.key, getuser(), for_host=False).rename(client.folder / "elsewhere.pub")
    others = users.sign(other, getuser(), for_host=False)
    server = certifying(client, users)
    lines = [f"CertificateFile {path}" for path in (client.folder / "missing", others, certificate)]
    assert (
        client.connect_error("site", ssh_config=site_config(server, f"IdentityFile {client.key}", *lines))
        is None
    )


def test_certificate_of_the_agent(client: Client, users: Authority) -> None:
    """A certificate in the agent is offered too."""
    users.sign(client.key, getuser(), for_host=False)
    server = certifying(client, users)
    with ssh_agent(client.folder, client.key) as path:
        for file in client.dot_ssh.glob("id_ed25519*"):
            file.unlink()
        assert client.connect_error("site", ssh_config=site_config(server, f"IdentityAgent {path}")) is None


@pytest.mark.parametrize("wrong", ["out of date", "another user"])
def test_refused_certificate(client: Client, users: Authority, wrong: str) -> None:
    """When a certificate is refused, the plain key is tried after it, and the login fails."""
    users.sign(
        client.key,
        "somebody-else" if wrong == "another user" else getuser(),
        for_host=False,
        **({"dates": OUT_OF_DATE} if wrong == "out of date" else {}),
    )
    server = certifying(client, users)
    ssh_config = site_config(server, f"IdentityFile {client.key}")
    client.expect_error(
        "site",
        4,
        f"{client.key} with {client.key}-cert.pub",
        f", publickey ({client.key})",
        ssh_config=ssh_config,
    )
    shutil.copy(client.key.with_suffix(".pub"), client.authorized_keys)
    assert client.connect_error("site", ssh_config=ssh_config) is None


def test_too_many_keys(client: Client) -> None:
    """A host that disconnects after too many keys is an authentication error, with the attempts and a hint."""
    keys = new_keys(client, 7)
    server = host(client)
    ssh_config = site_config(server, *(f"IdentityFile {key}" for key in (*keys, client.key)))
    problem = client.expect_error("site", 4, f"publickey ({keys[0]})", ssh_config=ssh_config)
    assert "oo many" in " ".join((str(problem), problem.hint, *problem.detail))
    assert len(offered_keys(server)) <= 6


def test_two_keys(client: Client) -> None:
    """A host may require two keys (publickey,publickey): no key is offered twice, and one alone is not enough."""
    (second,) = new_keys(client, 1)
    both = client.authorized_keys.read_text() + second.with_suffix(".pub").read_text()
    client.authorized_keys.write_text(both)
    server = host(client, "AuthenticationMethods publickey,publickey")
    files = [f"IdentityFile {key}" for key in (client.key, second)]
    assert client.connect_error("site", ssh_config=site_config(server, *files)) is None
    client.expect_error("site", 4, "publickey", ssh_config=site_config(server, files[0]))


def test_many_keys_through_the_program(network: Network) -> None:
    """The program tells a host's limit on keys as 4."""
    keys = []
    for index in range(7):
        keys.append(network.folder / f"key_{index}")
        make_key(keys[-1])
    network.configure(connect_kwargs={"key_filename": [str(key) for key in (*keys, network.key)]})
    assert_error(network.user.fab("secure"), 4, "oo many")
    network.configure(connect_kwargs={"key_filename": [str(network.key), *map(str, keys)]})
    assert_success(network.user.fab("secure"))
