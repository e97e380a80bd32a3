"""A secret is asked for once, and given to nobody but whom the prompt names."""

from collections.abc import Iterator

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from fabfile.ssh.asking import Asking, account

PROMPT = "me@gateway password:"
OTHER = "me@host password:"


class Answering:
    """A person who answers each question with the next of some answers."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def secret(self, prompt: str) -> str | None:
        self.asked.append(prompt)
        return self.answers.pop(0) if self.answers else None

    def line(self, prompt: str) -> str | None:
        raise AssertionError("a secret is not asked for with an echo")


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
    asking: Asking, prompt: str = PROMPT, *, of_another: str | None = None, keep: bool = False
) -> str | None:
    return asking.password(prompt, of_another=of_another, keep=keep)


def test_asked_once() -> None:
    """The same prompt is answered from memory; another one is asked anew."""
    person = Answering("first", "second")
    asking = Asking(person)
    assert [password(asking), password(asking), password(asking, OTHER)] == ["first", "first", "second"]
    assert person.asked == [PROMPT, OTHER]


def test_a_refused_one_is_not_given_again() -> None:
    """After a refusal the person is asked, though the next hop's password, or the keyring's, is at hand."""
    asking = Asking(Answering("wrong", "right"))
    assert password(asking) == "wrong"
    asking.forget(PROMPT)
    assert password(asking, of_another="me@") == "right"


def test_for_the_next_hop_only_when_allowed() -> None:
    """The gateway's password is offered to the host only where the settings allow it, and only to the same user."""
    assert password(Asking(Answering("asked"), {PROMPT: "given"}), OTHER) == "asked"
    assert password(Asking(Answering("asked"), {PROMPT: "given"}), OTHER, of_another="me@") == "given"
    assert (
        password(Asking(Answering("asked"), {PROMPT: "given"}), "you@host password:", of_another="you@")
        == "asked"
    )


def test_the_same_machine_by_another_name() -> None:
    """What was given for a pool is good for its member; what the member has of its own stays."""
    asking = Asking(Answering(), {"me@pool password:": "given", "me@poolside password:": "another"})
    asking.same("me@pool", "me@member")
    assert password(asking, "me@member password:") == "given"
    assert password(asking, "me@memberside password:") is None


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


def test_keyring_with_a_wrong_password(ring: InMemory) -> None:
    """A kept password that is refused is asked for, and the new one is kept in its place."""
    ring.set_password("notebooks-over-ssh", PROMPT, "old")
    asking = Asking(Answering("new"))
    assert password(asking, keep=True) == "old"
    asking.forget(PROMPT)
    assert password(asking, keep=True) == "new"
    assert ring.get_password("notebooks-over-ssh", PROMPT) == "new"


def test_locked_keyring(ring: InMemory) -> None:
    """A keyring that does not open is no obstacle: the person is asked."""
    ring.locked = True
    assert password(Asking(Answering("given")), keep=True) == "given"
