"""A secret is asked for once, and given to nobody but whom the prompt names."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import keyring
import msgspec
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from notebooks_over_ssh.errors import Failed
from notebooks_over_ssh.ssh.prompting import Asking, HopIdentity, Secrets, account

PROMPT = "me@gateway password:"
GATEWAY = HopIdentity(0, "me", "SHA256:gateway")
NAME = f"{PROMPT} {GATEWAY.host_key}"  # in the keyring
HOST = HopIdentity(1, "me", "SHA256:host")


class Answering:
    """A person who answers each question with the next of some answers."""

    is_there = True

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def secret(self, prompt: str) -> str | None:
        self.asked.append(prompt)
        return self.answers.pop(0) if self.answers else None

    def line(self, prompt: str) -> str | None:
        raise AssertionError("a secret is not asked for with an echo")

    def notice(self, lines: Iterable[str]) -> None:
        raise AssertionError("no host has anything to say")


class InMemory(KeyringBackend):
    """A keyring of the test's own."""

    priority = 1

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise KeyringLocked("locked")
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.locked:
            raise KeyringLocked("locked")
        self.kept[service, username] = password


@pytest.fixture
def ring() -> Iterator[InMemory]:
    """The keyring of this machine, for the time of the test."""
    before = keyring.get_keyring()
    ring = InMemory()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


def password(
    asking: Asking, hop: HopIdentity = GATEWAY, *earlier_hops: HopIdentity, keep: bool = False
) -> str | None:
    return asking.password(hop, PROMPT, earlier_hops=earlier_hops, keep=keep)


def given(hop: HopIdentity, secret: str = "given") -> Secrets:
    """What is remembered once a password was given for the hop."""
    return Secrets([(hop, secret)])


def test_asked_once() -> None:
    """The same hop's password is given from memory; that of another is asked for."""
    person = Answering("first", "second")
    asking = Asking(person)
    assert [password(asking), password(asking), password(asking, HOST)] == ["first", "first", "second"]
    assert len(person.asked) == 2


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
    """A password belongs to a place in the route, a host key and a user: what differs in one of them is asked for anew."""
    assert password(Asking(Answering("asked"), given(GATEWAY)), other) == "asked"


def test_a_refused_one_is_not_given_again() -> None:
    """After a refusal the person is asked, though an earlier hop's password, or the keyring's, is at hand."""
    asking = Asking(Answering("right"), given(GATEWAY, "wrong"))
    assert password(asking, HOST, GATEWAY) == "wrong"
    asking.forget(HOST)
    assert password(asking, HOST, GATEWAY) == "right"


def test_offered_forward_only() -> None:
    """The gateway's password is offered to the host, never the host's to the gateway, and only to the same user."""
    assert password(Asking(Answering("asked"), given(GATEWAY)), HOST) == "asked"
    assert password(Asking(Answering("asked"), given(GATEWAY)), HOST, GATEWAY) == "given"
    assert password(Asking(Answering("asked"), given(HOST)), GATEWAY, HOST) == "asked"
    you = HopIdentity(1, "you", "SHA256:host")
    assert password(Asking(Answering("asked"), given(GATEWAY)), you, GATEWAY) == "asked"


def test_offered_to_no_other_hop_while_nobody_attends() -> None:
    """Without a person each hop gets its own password, and no hop gets that of another."""
    alone = Asking(Answering(), given(GATEWAY)).alone()
    assert password(alone) == "given"
    assert password(alone, HOST, GATEWAY) is None


def test_what_a_process_in_the_background_gets() -> None:
    """All that was given reaches another process by way of JSON, and no representation shows it."""
    asking = Asking(Answering("given", "phrase"))
    password(asking)
    asking.passphrase(Path("key"))
    sent = msgspec.json.decode(msgspec.json.encode(asking.secrets), type=Secrets)
    assert "given" not in repr(sent)
    assert "phrase" not in repr(sent)
    there = Asking(Answering(), sent)
    assert (password(there), there.passphrase(Path("key"))) == ("given", "phrase")


def test_accounts() -> None:
    """A port other than that of SSH makes another account of it."""
    assert account("me", "host", 22) == account("me", "host", None) == "me@host"
    assert account("me", "host", 2222) == "me@host:2222"


def test_keyring(ring: InMemory) -> None:
    """With the setting, a password is kept in the keyring and asked for no more in a later run; without it nothing is."""
    person = Answering("given")
    assert password(Asking(person)) == "given"
    assert ring.kept == {}
    assert password(Asking(Answering("given")), keep=True) == "given"
    assert password(Asking(Answering()), keep=True) == "given"
    assert password(Asking(Answering()), HopIdentity(0, "me", "SHA256:another"), keep=True) is None


def test_keyring_with_a_wrong_password(ring: InMemory) -> None:
    """A kept password that is refused is asked for, and the new one is kept in its place."""
    ring.set_password("notebooks-over-ssh", NAME, "old")
    asking = Asking(Answering("new"))
    assert password(asking, keep=True) == "old"
    asking.forget(GATEWAY)
    assert password(asking, keep=True) == "new"
    assert ring.get_password("notebooks-over-ssh", NAME) == "new"


def test_locked_keyring(ring: InMemory) -> None:
    """A keyring that does not open is no obstacle: the person is asked."""
    ring.locked = True
    assert password(Asking(Answering("given")), keep=True) == "given"


class AtTheEnd(Answering):
    """A person who presses Ctrl-D at each question."""

    def line(self, prompt: str) -> str | None:
        return None


def test_end_of_input_instead_of_a_code() -> None:
    """Ctrl-D at the question for a code that is echoed is an error; nobody is taken for absent."""
    with pytest.raises(Failed, match="not answered"):
        Asking(AtTheEnd()).code("code:", echo=True)
