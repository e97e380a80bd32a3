"""Prompts for credentials, and caches those that may be used again in this run."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec
import paramiko

from notebooks_over_ssh.config.cli import PromptedSecrets
from notebooks_over_ssh.config.settings import SSH_PORT
from notebooks_over_ssh.errors import unanswered

KEYRING_SERVICE = "notebooks-over-ssh"


class Prompter(Protocol):
    """Prompts the user; every answer is None if `is_interactive` is False."""

    is_interactive: bool

    def ask_secret(self, prompt: str) -> str | None: ...

    def ask(self, prompt: str) -> str | None: ...

    def show_banner(self, lines: Iterable[str]) -> None: ...


class NullPrompter:
    """Never prompts."""

    is_interactive = False

    def ask_secret(self, prompt: str) -> str | None:
        return None

    def ask(self, prompt: str) -> str | None:
        return None

    def show_banner(self, lines: Iterable[str]) -> None:
        pass


class HopIdentity(msgspec.Struct, frozen=True):
    """Identifies the hop that a password belongs to, independently of the hop's name."""

    position: int
    """The position in the route, from 0."""
    user: str
    host_key: str
    """The SHA256 fingerprint of the key that the hop presented."""


class Secrets(msgspec.Struct):
    """The passwords and passphrases that the user has entered in this run."""

    passwords: list[tuple[HopIdentity, str]] = []
    passphrases: dict[str, str] = {}
    """By the path of the key file; PINs by what they belong to."""
    prompted: PromptedSecrets = PromptedSecrets()
    """The first answers: its password for the host of the run, its passphrase for each key file."""

    def __repr__(self) -> str:
        return "Secrets(…)"


def account(user: str, name: str, port: int | None) -> str:
    """The account's name in prompts: `user@host`, with the port if it is not 22."""
    return f"{user}@{name}" if port in (None, SSH_PORT) else f"{user}@{name}:{port}"


class CredentialPrompter:
    """Prompts for credentials and caches them, each for the hop or file that it was entered for."""

    def __init__(
        self, prompter: Prompter, secrets: Secrets | None = None, banners_shown: Iterable[str] = ()
    ) -> None:
        """`banners_shown` are the accounts whose banner the user has seen."""
        self._prompter = prompter
        initial = secrets or Secrets()
        self._passwords = dict(initial.passwords)
        self._passphrases = dict(initial.passphrases)
        self.decrypted_keys: dict[Path, paramiko.PKey] = {}
        """The decrypted private keys, by file; the key derivation is slow by design."""
        self.requires_interaction = False
        """Whether a login of this run needed a one-time answer, so that the next one will need the user again."""
        self._refused_hops: set[HopIdentity] = set()
        self._prompted = initial.prompted
        self._undecrypted: set[str] = set()
        self.banners_shown = set(banners_shown)

    @property
    def is_interactive(self) -> bool:
        """Whether the user can be prompted."""
        return self._prompter.is_interactive

    @property
    def secrets(self) -> Secrets:
        """The cached passwords and passphrases."""
        return Secrets(list(self._passwords.items()), dict(self._passphrases), self._prompted)

    def non_interactive(self) -> "CredentialPrompter":
        """A copy with the cached secrets that never prompts."""
        copy = CredentialPrompter(NullPrompter(), self.secrets)
        copy.requires_interaction = self.requires_interaction
        copy.decrypted_keys = self.decrypted_keys
        return copy

    def clear(self) -> None:
        """Drop all secrets, because nothing will log in any more."""
        for secrets in (self._passwords, self._passphrases, self.decrypted_keys):
            secrets.clear()
        self._prompted = PromptedSecrets()

    def show_banner(self, account: str, lines: Iterable[str]) -> None:
        """Show the authentication banner for an account, unless it has been shown before."""
        if account not in self.banners_shown:
            self.banners_shown.add(account)
            self._prompter.show_banner(lines)

    def ask_for_touch(self, account: str, key: str) -> None:
        """Ask the user to touch the security key that is going to sign."""
        self.requires_interaction = True
        self._prompter.show_banner([f"touch your security key to log in to {account} ({key})"])

    def show_waiting(self, account: str) -> None:
        """Tell the user that the account's host has not replied yet."""
        self._prompter.show_banner(
            [f"{account} has not replied yet; confirm the login on your phone if it asks you to"]
        )

    def ask(self, prompt: str) -> str | None:
        """Prompt for a line; None if the user cannot be prompted."""
        return self._prompter.ask(prompt)

    def ask_otp(self, prompt: str, *, echo: bool) -> str | None:
        """Prompt for a one-time answer, which is not cached; None if the user cannot be prompted.

        Raises TaskError at end of input.
        """
        self.requires_interaction = True
        if not echo:
            return self._prompter.ask_secret(prompt)
        answer = self._prompter.ask(prompt)
        if answer is None and self.is_interactive:
            raise unanswered()
        return answer

    def passphrase(self, file: Path) -> str | None:
        """The passphrase of a key file, cached or prompted for; None if the user cannot be prompted."""
        if str(file) not in self._passphrases:
            answer = None if str(file) in self._undecrypted else self._prompted.passphrase
            if answer is None:
                answer = self._prompter.ask_secret(f"passphrase for {file}:")
            if answer is None:
                return None
            self._passphrases[str(file)] = answer
        return self._passphrases[str(file)]

    def pin(self, owner: str) -> str | None:
        """The PIN of a device, cached or prompted for; None if the user cannot be prompted."""
        if owner not in self._passphrases:
            answer = self._prompter.ask_secret(f"PIN for {owner}:")
            if answer is None:
                return None
            self._passphrases[owner] = answer
        return self._passphrases[owner]

    def forget_pin(self, owner: str) -> None:
        """Drop a PIN that may be wrong from the cache: a device blocks itself after a few wrong ones."""
        self._passphrases.pop(owner, None)

    def forget_passphrase(self, file: Path) -> bool:
        """Drop a wrong passphrase from the cache; returns whether the user has not been prompted for this file yet."""
        first_answer = str(file) not in self._undecrypted and self._prompted.passphrase is not None
        self._undecrypted.add(str(file))
        self._passphrases.pop(str(file), None)
        return first_answer

    def password(
        self,
        hop: HopIdentity,
        prompt: str,
        *,
        earlier_hops: Iterable[HopIdentity] = (),
        use_keyring: bool,
        is_host: bool = False,
    ) -> str | None:
        """The password for the hop, cached or prompted for; None if the user cannot be prompted.

        `earlier_hops` are hops of the same route, the nearest first, whose password to try here before prompting, if
        the user is the same. That happens only while the user can be prompted: an unattended login sends each hop its
        own password only. `use_keyring` is whether to look the password up in this machine's keyring, and to store it
        there. `is_host` is whether the hop is the host of the run, to which the password of
        --prompt-for-login-password belongs.
        """
        if is_host and self._prompted.password is not None:
            self._passwords.setdefault(hop, self._prompted.password)
        if hop not in self._passwords and hop not in self._refused_hops and self.is_interactive:
            for earlier in earlier_hops:
                if (
                    earlier in self._passwords
                    and earlier.user == hop.user
                    and earlier.position < hop.position
                ):
                    self._passwords[hop] = self._passwords[earlier]
                    break
        if hop not in self._passwords:
            answer = self._from_keyring(hop, prompt) if use_keyring else self._prompter.ask_secret(prompt)
            if answer is None:
                return None
            self._passwords[hop] = answer
        return self._passwords[hop]

    def forget(self, hop: HopIdentity) -> None:
        """Drop a password that the hop refused from the cache, and do not take one from the keyring again."""
        self._refused_hops.add(hop)
        if self._passwords.pop(hop, None) == self._prompted.password:
            self._prompted = msgspec.structs.replace(self._prompted, password=None)

    def _from_keyring(self, hop: HopIdentity, prompt: str) -> str | None:
        import keyring
        from keyring.errors import KeyringError

        name = f"{prompt} {hop.host_key}"
        # If the keyring is locked or missing, prompt.
        with contextlib.suppress(KeyringError):
            stored = None if hop in self._refused_hops else keyring.get_password(KEYRING_SERVICE, name)
            if stored is not None:
                return stored
        answer = self._prompter.ask_secret(prompt)
        if answer is not None:
            with contextlib.suppress(KeyringError):
                keyring.set_password(KEYRING_SERVICE, name, answer)
        return answer
