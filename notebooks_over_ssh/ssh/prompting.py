"""Asks the user for what a login needs, and remembers what it may give again."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec
import paramiko

from notebooks_over_ssh.config.settings import SSH_PORT
from notebooks_over_ssh.errors import unanswered

KEYRING_SERVICE = "notebooks-over-ssh"


class Prompter(Protocol):
    """Whoever can be asked; every answer is None where there is nobody (`is_interactive` is False)."""

    is_interactive: bool

    def ask_secret(self, prompt: str) -> str | None: ...

    def ask(self, prompt: str) -> str | None: ...

    def notice(self, lines: Iterable[str]) -> None: ...


class NullPrompter:
    """Answers nothing."""

    is_interactive = False

    def ask_secret(self, prompt: str) -> str | None:
        return None

    def ask(self, prompt: str) -> str | None:
        return None

    def notice(self, lines: Iterable[str]) -> None:
        pass


class HopIdentity(msgspec.Struct, frozen=True):
    """The hop that a password belongs to: its place in the route, from 0, the user there, the host key that it showed.

    Two names of one machine are the same hop; two machines of one name are not.
    """

    number: int
    user: str
    host_key: str
    """The SHA256 fingerprint."""


class Secrets(msgspec.Struct):
    """What the user gave in this run."""

    passwords: list[tuple[HopIdentity, str]] = []
    passphrases: dict[str, str] = {}
    """By the path of the key file."""

    def __repr__(self) -> str:
        return "Secrets(…)"


def account(user: str, name: str, port: int | None) -> str:
    """What a prompt calls an account: `user@host`, with the port where it is not that of SSH."""
    return f"{user}@{name}" if port in (None, SSH_PORT) else f"{user}@{name}:{port}"


class CredentialPrompter:
    """A person and the secrets that the person gave in this run, each for the very hop or file that it was asked for."""

    def __init__(
        self, prompter: Prompter, secrets: Secrets | None = None, noticed: Iterable[str] = ()
    ) -> None:
        """`noticed` are the accounts whose notice the person has seen."""
        self._prompter = prompter
        initial = secrets or Secrets()
        self._passwords = dict(initial.passwords)
        self._passphrases = dict(initial.passphrases)
        self.decrypted_keys: dict[Path, paramiko.PKey] = {}
        """The keys that a passphrase has unlocked: to unlock one is slow by design."""
        self.requires_interaction = False
        """Whether a login in this run needed what is good for one time only: the next one will need a person again."""
        self._refused: set[HopIdentity] = set()
        self.noticed = set(noticed)

    @property
    def is_interactive(self) -> bool:
        """Whether there is a person who can be asked."""
        return self._prompter.is_interactive

    @property
    def secrets(self) -> Secrets:
        """What was given by now."""
        return Secrets(list(self._passwords.items()), dict(self._passphrases))

    def non_interactive(self) -> "CredentialPrompter":
        """What is known by now, with nobody left to ask."""
        copy = CredentialPrompter(NullPrompter(), self.secrets)
        copy.requires_interaction = self.requires_interaction
        copy.decrypted_keys = self.decrypted_keys
        return copy

    def notice(self, owner: str, lines: Iterable[str]) -> None:
        """Show what an account's host has to say before a login: once, as it says the same at every login."""
        if owner not in self.noticed:
            self.noticed.add(owner)
            self._prompter.notice(lines)

    def ask(self, prompt: str) -> str | None:
        """Ask for a line; None where there is nobody."""
        return self._prompter.ask(prompt)

    def ask_otp(self, prompt: str, *, echo: bool) -> str | None:
        """Ask for what is good for one time only; None where there is nobody. Raises TaskError at the end of input."""
        self.requires_interaction = True
        if not echo:
            return self._prompter.ask_secret(prompt)
        answer = self._prompter.ask(prompt)
        if answer is None and self.is_interactive:
            raise unanswered()
        return answer

    def passphrase(self, file: Path) -> str | None:
        """The passphrase of a key file, as given before in this run, else asked for."""
        if str(file) not in self._passphrases:
            answer = self._prompter.ask_secret(f"passphrase of {file}:")
            if answer is None:
                return None
            self._passphrases[str(file)] = answer
        return self._passphrases[str(file)]

    def forget_passphrase(self, file: Path) -> None:
        """The passphrase was wrong: the person is asked again."""
        self._passphrases.pop(str(file), None)

    def password(
        self, hop: HopIdentity, prompt: str, *, earlier_hops: Iterable[HopIdentity] = (), use_keyring: bool
    ) -> str | None:
        """The password of the user at the hop: the one given for it, else asked for with the prompt.

        `earlier_hops` are those of the same route, the nearest to this one first, whose password may be offered here too. That
        is done only while a person attends: by itself the program gives each hop nothing but its own. `use_keyring`: whether the keyring
        of this machine is asked first, and told afterwards.
        """
        if hop not in self._passwords and hop not in self._refused and self.is_interactive:
            for earlier in earlier_hops:
                if earlier in self._passwords and earlier.user == hop.user and earlier.number < hop.number:
                    self._passwords[hop] = self._passwords[earlier]
                    break
        if hop not in self._passwords:
            answer = self._from_keyring(hop, prompt) if use_keyring else self._prompter.ask_secret(prompt)
            if answer is None:
                return None
            self._passwords[hop] = answer
        return self._passwords[hop]

    def forget(self, hop: HopIdentity) -> None:
        """The hop refused its password: it is not given again, and the person is asked."""
        self._refused.add(hop)
        self._passwords.pop(hop, None)

    def _from_keyring(self, hop: HopIdentity, prompt: str) -> str | None:
        import keyring
        from keyring.errors import KeyringError

        name = f"{prompt} {hop.host_key}"
        # A keyring that is locked or missing is no reason not to ask.
        with contextlib.suppress(KeyringError):
            stored = None if hop in self._refused else keyring.get_password(KEYRING_SERVICE, name)
            if stored is not None:
                return stored
        answer = self._prompter.ask_secret(prompt)
        if answer is not None:
            with contextlib.suppress(KeyringError):
                keyring.set_password(KEYRING_SERVICE, name, answer)
        return answer
