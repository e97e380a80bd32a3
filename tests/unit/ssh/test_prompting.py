"""A secret is asked for once, and given only to the hop that the prompt names."""

from collections.abc import Iterator
from pathlib import Path

import keyring
import msgspec
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from notebooks_over_ssh.config.cli import PromptedSecrets
from notebooks_over_ssh.errors import TaskError
from notebooks_over_ssh.ssh.prompting import CredentialPrompter, HopIdentity, NullPrompter, Secrets, account
from tests.kit.prompter import ScriptedPrompter

PROMPT = "me@gateway password:"
GATEWAY = HopIdentity(0, "me", "SHA256:gateway")
NAME = f"{PROMPT} {GATEWAY.host_key}"  # in the keyring
HOST = HopIdentity(1, "me", "SHA256:host")


class MemoryKeyring(KeyringBackend):
    """A keyring in memory."""

    priority = 1

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise KeyringLocked("locked")
        return self.stored.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.locked:
            raise KeyringLocked("locked")
        self.stored[service, username] = password


@pytest.fixture
def memory_keyring() -> Iterator[MemoryKeyring]:
    """A keyring in memory, in place of this machine's."""
    before = keyring.get_keyring()
    memory_keyring = MemoryKeyring()
    keyring.set_keyring(memory_keyring)
    yield memory_keyring
    keyring.set_keyring(before)


def password(
    credentials: CredentialPrompter,
    hop: HopIdentity = GATEWAY,
    *earlier_hops: HopIdentity,
    use_keyring: bool = False,
) -> str | None:
    return credentials.password(hop, PROMPT, earlier_hops=earlier_hops, use_keyring=use_keyring)


def saved_secrets(hop: HopIdentity, secret: str = "given") -> Secrets:
    """Secrets as they are after a password was typed for the hop."""
    return Secrets([(hop, secret)])


def test_asked_once() -> None:
    """A hop's password is asked for once; another hop's is asked for again."""
    prompter = ScriptedPrompter("first", "second")
    credentials = CredentialPrompter(prompter)
    assert [password(credentials), password(credentials), password(credentials, HOST)] == [
        "first",
        "first",
        "second",
    ]
    assert len(prompter.prompts) == len(prompter.hidden_prompts) == 2


@pytest.mark.parametrize(
    "other",
    [
        HopIdentity(1, "me", "SHA256:gateway"),
        HopIdentity(0, "me", "SHA256:another"),
        HopIdentity(0, "you", "SHA256:gateway"),
    ],
    ids=["another place in the route", "another host key", "another user"],
)
def test_another_hop(other: HopIdentity) -> None:
    """A password is bound to a position in the route, a host key and a user: if one of them differs, there is a
    prompt.
    """
    assert password(CredentialPrompter(ScriptedPrompter("asked"), saved_secrets(GATEWAY)), other) == "asked"


def test_refused_password() -> None:
    """After a refusal there is a prompt, although an earlier hop's password, or the keyring's, is available."""
    credentials = CredentialPrompter(ScriptedPrompter("right"), saved_secrets(GATEWAY, "wrong"))
    assert password(credentials, HOST, GATEWAY) == "wrong"
    credentials.forget(HOST)
    assert password(credentials, HOST, GATEWAY) == "right"


def test_offered_forward_only() -> None:
    """The gateway's password is offered to the host, never the host's to the gateway, and only to the same user."""
    assert password(CredentialPrompter(ScriptedPrompter("asked"), saved_secrets(GATEWAY)), HOST) == "asked"
    assert (
        password(CredentialPrompter(ScriptedPrompter("asked"), saved_secrets(GATEWAY)), HOST, GATEWAY)
        == "given"
    )
    assert (
        password(CredentialPrompter(ScriptedPrompter("asked"), saved_secrets(HOST)), GATEWAY, HOST) == "asked"
    )
    you = HopIdentity(1, "you", "SHA256:host")
    assert (
        password(CredentialPrompter(ScriptedPrompter("asked"), saved_secrets(GATEWAY)), you, GATEWAY)
        == "asked"
    )


def test_non_interactive() -> None:
    """Without a terminal each hop gets its own password, and none that of another."""
    alone = CredentialPrompter(ScriptedPrompter(), saved_secrets(GATEWAY)).non_interactive()
    assert password(alone) == "given"
    assert password(alone, HOST, GATEWAY) is None


def test_secrets_as_json() -> None:
    """All secrets survive the encoding as JSON for another process, and no repr shows them."""
    credentials = CredentialPrompter(ScriptedPrompter("given", "phrase"))
    password(credentials)
    credentials.passphrase(Path("key"))
    sent = msgspec.json.decode(msgspec.json.encode(credentials.secrets), type=Secrets)
    assert "given" not in repr(sent)
    assert "phrase" not in repr(sent)
    received = CredentialPrompter(ScriptedPrompter(), sent)
    assert (password(received), received.passphrase(Path("key"))) == ("given", "phrase")


def test_accounts() -> None:
    """An account's label includes the port if it is not the default."""
    assert account("me", "host", 22) == account("me", "host", None) == "me@host"
    assert account("me", "host", 2222) == "me@host:2222"


def test_keyring(memory_keyring: MemoryKeyring) -> None:
    """With the setting, a password is stored in the keyring and not asked for in a later run; without it nothing is
    stored.
    """
    prompter = ScriptedPrompter("given")
    assert password(CredentialPrompter(prompter)) == "given"
    assert memory_keyring.stored == {}
    assert password(CredentialPrompter(ScriptedPrompter("given")), use_keyring=True) == "given"
    assert password(CredentialPrompter(ScriptedPrompter()), use_keyring=True) == "given"
    assert (
        password(
            CredentialPrompter(ScriptedPrompter()), HopIdentity(0, "me", "SHA256:another"), use_keyring=True
        )
        is None
    )


def test_keyring_with_a_wrong_password(memory_keyring: MemoryKeyring) -> None:
    """A stored password that the host refuses is prompted for again, and replaced."""
    memory_keyring.set_password("notebooks-over-ssh", NAME, "old")
    credentials = CredentialPrompter(ScriptedPrompter("new"))
    assert password(credentials, use_keyring=True) == "old"
    credentials.forget(GATEWAY)
    assert password(credentials, use_keyring=True) == "new"
    assert memory_keyring.get_password("notebooks-over-ssh", NAME) == "new"


def test_locked_keyring(memory_keyring: MemoryKeyring) -> None:
    """With a locked keyring there is a prompt instead of an error."""
    memory_keyring.locked = True
    assert password(CredentialPrompter(ScriptedPrompter("given")), use_keyring=True) == "given"


def test_end_of_input() -> None:
    """Ctrl-D at a prompt with echo is an error, different from having no terminal."""
    with pytest.raises(TaskError, match="no answer at the prompt"):
        CredentialPrompter(ScriptedPrompter()).ask_otp("code:", echo=True)


class TestPromptedAtTheStart:
    """The answers at Fabric's --prompt-for-login-password and --prompt-for-passphrase."""

    def test_password_is_for_the_host(self) -> None:
        """The password is sent to the host of the run, without a prompt; the gateway's is prompted for."""
        prompter = ScriptedPrompter("the gateway's")
        credentials = CredentialPrompter(prompter, Secrets(prompted=PromptedSecrets(password="the host's")))
        assert password(credentials, GATEWAY) == "the gateway's"
        assert credentials.password(HOST, PROMPT, use_keyring=False, is_host=True) == "the host's"
        assert prompter.prompts == [PROMPT]

    def test_refused_password(self) -> None:
        """A password that the host refused is not sent again, also not by a copy: the user is prompted."""
        prompter = ScriptedPrompter("second")
        credentials = CredentialPrompter(prompter, Secrets(prompted=PromptedSecrets(password="first")))
        assert credentials.password(HOST, PROMPT, use_keyring=False, is_host=True) == "first"
        credentials.forget(HOST)
        copy = credentials.non_interactive()
        assert copy.password(HOST, PROMPT, use_keyring=False, is_host=True) is None
        assert credentials.password(HOST, PROMPT, use_keyring=False, is_host=True) == "second"

    def test_passphrase(self) -> None:
        """The passphrase is tried for each key file; where it is wrong, the user is prompted for that file's, once."""
        prompter = ScriptedPrompter("another")
        credentials = CredentialPrompter(prompter, Secrets(prompted=PromptedSecrets(passphrase="common")))
        first, second = Path("first"), Path("second")
        assert credentials.passphrase(first) == credentials.passphrase(second) == "common"
        assert credentials.forget_passphrase(second)
        assert credentials.passphrase(first) == "common"
        assert credentials.passphrase(second) == "another"
        assert not credentials.forget_passphrase(second)

    def test_without_a_terminal(self) -> None:
        """The process of a background tunnel, and a login that must not prompt, have the answers too."""
        secrets = Secrets(prompted=PromptedSecrets("the host's", "common"))
        credentials = CredentialPrompter(NullPrompter(), CredentialPrompter(NullPrompter(), secrets).secrets)
        assert credentials.password(HOST, PROMPT, use_keyring=False, is_host=True) == "the host's"
        assert credentials.passphrase(Path("first")) == "common"
        assert "common" not in repr(credentials.secrets)


def test_clear() -> None:
    """Secrets that nothing needs any more are dropped."""
    secrets = Secrets([(GATEWAY, "secret")], {"key": "secret"}, PromptedSecrets("secret", "secret"))
    credentials = CredentialPrompter(NullPrompter(), secrets)
    credentials.clear()
    assert credentials.secrets == Secrets()
    assert password(credentials) is None
