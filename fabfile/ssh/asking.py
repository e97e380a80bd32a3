"""Asks the user for what a login needs, and remembers what it may give again."""

import contextlib
from pathlib import Path
from typing import Protocol

import paramiko

from fabfile.settings import SSH_PORT

KEYRING_SERVICE = "notebooks-over-ssh"


class Person(Protocol):
    """Whoever can be asked; every answer is None where there is nobody."""

    def secret(self, prompt: str) -> str | None: ...

    def line(self, prompt: str) -> str | None: ...


class Nobody:
    """Answers nothing."""

    def secret(self, prompt: str) -> str | None:
        return None

    def line(self, prompt: str) -> str | None:
        return None


def account(user: str, name: str, port: int | None) -> str:
    """What a prompt calls an account: `user@host`, with the port where it is not that of SSH."""
    return f"{user}@{name}" if port in (None, SSH_PORT) else f"{user}@{name}:{port}"


class Asking:
    """A person and the secrets that the person gave in this run, each under the very prompt that asked for it.

    A prompt names the account and the hop, so a secret is never given to another one by accident.
    """

    def __init__(self, person: Person, remembered: dict[str, str] | None = None) -> None:
        self._person = person
        self.remembered: dict[str, str] = remembered or {}
        self.unlocked: dict[Path, paramiko.PKey] = {}
        """The keys that a passphrase has unlocked: to unlock one is slow by design."""
        self.needs_person = False
        """Whether a login in this run needed what is good for one time only: the next one will need a person again."""
        self._refused: set[str] = set()

    def alone(self) -> "Asking":
        """What is known by now, with nobody left to ask."""
        left = Asking(Nobody(), self.remembered)
        left.needs_person = self.needs_person
        left.unlocked = self.unlocked
        return left

    def line(self, prompt: str) -> str | None:
        """Ask for a line; None where there is nobody."""
        return self._person.line(prompt)

    def code(self, prompt: str, *, echo: bool) -> str | None:
        """Ask for what is good for one time only; None where there is nobody."""
        self.needs_person = True
        return self._person.line(prompt) if echo else self._person.secret(prompt)

    def secret(self, prompt: str) -> str | None:
        """The secret that answered this prompt before in this run, else ask for it."""
        return self._known(prompt, self._person.secret)

    def password(self, prompt: str, *, of_another: str | None, keep: bool) -> str | None:
        """The password that this prompt asks for.

        `of_another`: the beginning of prompts whose answer may be offered here too. `keep`: whether the keyring of this
        machine is asked first, and told afterwards.
        """
        if of_another and prompt not in self.remembered and prompt not in self._refused:
            for asked, answer in self.remembered.items():
                if asked.startswith(of_another):
                    self.remembered[prompt] = answer
                    return answer
        return self._known(prompt, self._through_the_keyring if keep else self._person.secret)

    def same(self, account: str, also: str) -> None:
        """The second account is the first one under another name: what was given for the one is good for the other."""
        for prompt, secret in list(self.remembered.items()):
            if prompt.startswith(f"{account} "):
                self.remembered.setdefault(also + prompt.removeprefix(account), secret)

    def forget(self, prompt: str) -> None:
        """The secret was refused: it is not given again, and the person is asked."""
        self._refused.add(prompt)
        self.remembered.pop(prompt, None)

    def _known(self, prompt: str, ask: "Ask") -> str | None:
        if prompt not in self.remembered:
            answer = ask(prompt)
            if answer is None:
                return None
            self.remembered[prompt] = answer
        return self.remembered[prompt]

    def _through_the_keyring(self, prompt: str) -> str | None:
        import keyring
        from keyring.errors import KeyringError

        # A keyring that is locked or missing is no reason not to ask.
        with contextlib.suppress(KeyringError):
            kept = None if prompt in self._refused else keyring.get_password(KEYRING_SERVICE, prompt)
            if kept is not None:
                return kept
        answer = self._person.secret(prompt)
        if answer is not None:
            with contextlib.suppress(KeyringError):
                keyring.set_password(KEYRING_SERVICE, prompt, answer)
        return answer


class Ask(Protocol):
    """A way to get a secret for a prompt."""

    def __call__(self, prompt: str) -> str | None: ...
