"""Keys on a PKCS #11 token log in. Its PIN is asked for only where a hop accepts one, and not used again if wrong."""

import os

import pytest

from tests.kit.cli import run
from tests.kit.pkcs11_token import LIBRARY, PIN, make_token
from tests.kit.prompter import ScriptedPrompter
from tests.kit.ssh_agent import ssh_agent
from tests.kit.ssh_client import Client
from tests.kit.sshd import Server, site_config
from tests.kit.two_hops import TwoHops

KINDS = ("ecdsa", "rsa")
PROVIDER = f"PKCS11Provider {LIBRARY}"
PROMPT = f"PIN for the token of {LIBRARY}:"


def host(client: Client) -> Server:
    server = client.server("host")
    client.write_known_hosts(server.known_hosts_line)
    return server


@pytest.mark.parametrize("kind", KINDS)
def test_two_hops(client: Client, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A key of the token logs in to both hops, with one prompt for its PIN."""
    client.authorized_keys.write_text("".join(make_token(client.folder / "token", monkeypatch, kind)))
    monkeypatch.setenv("OF_MINE", str(LIBRARY))
    prompter = ScriptedPrompter(PIN)
    ssh_config = f"Host *\n    PKCS11Provider $OF_MINE\n    IdentityFile {client.folder / 'nowhere'}\n"
    with TwoHops(client).connected(ssh_config=ssh_config, prompter=prompter) as connection:
        assert connection.run("echo yes", hide=True, in_stream=False).stdout == "yes\n"
    assert prompter.hidden_prompts == [PROMPT]
    assert prompter.banner_lines == []


def test_agent(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of a token that the user's agent has logs in, without a prompt."""
    client.authorized_keys.write_text("".join(make_token(client.folder / "token", monkeypatch, "ecdsa")))
    server = host(client)
    askpass = client.folder / "askpass"
    askpass.write_text(f"#!/bin/sh\necho {PIN}\n")
    askpass.chmod(0o700)
    with ssh_agent(client.folder) as path:
        variables = {"SSH_AUTH_SOCK": path, "SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force"}
        run("ssh-add", "-q", "-s", LIBRARY, env={**os.environ, **variables})
        prompter = ScriptedPrompter()
        lines = (f"IdentityAgent {path}", f"IdentityFile {client.folder / 'nowhere'}")
        assert client.connect_error("site", prompter, ssh_config=site_config(server, *lines)) is None
    assert prompter.prompts == []


def test_order_and_refusals(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two keys on a token the accepted one signs. The PIN is not asked for in vain, and a wrong one is forgotten."""
    _, accepted = make_token(client.folder / "token", monkeypatch, *KINDS)
    server = host(client)
    nowhere = f"IdentityFile {client.folder / 'nowhere'}"
    ssh_config = site_config(server, PROVIDER, nowhere)
    prompter = ScriptedPrompter()
    client.expect_error("site", 4, "publickey (token: ssh-rsa)", prompter=prompter, ssh_config=ssh_config)
    assert prompter.prompts == []

    client.authorized_keys.write_text(accepted)
    prompter = ScriptedPrompter("wrong")
    client.expect_error("site", 4, "a wrong PIN", prompter=prompter, ssh_config=ssh_config)
    assert prompter.prompts == [PROMPT]

    client.expect_error("site", 4, "no terminal to ask for its PIN", ssh_config=ssh_config)
    prompter = ScriptedPrompter(PIN)
    assert client.connect_error("site", prompter, ssh_config=ssh_config) is None
    assert prompter.prompts == [PROMPT]

    missing = site_config(server, f"PKCS11Provider {client.folder / 'missing.so'}", nowhere)
    client.expect_error("site", 4, "missing.so (it shows no key", ssh_config=missing)
    prompter = ScriptedPrompter()
    too_small = site_config(server, PROVIDER, nowhere, "RequiredRSASize 4096")
    client.expect_error("site", 4, "token: ssh-rsa (not allowed", prompter=prompter, ssh_config=too_small)
    assert prompter.prompts == []
