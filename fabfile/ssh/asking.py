"""Asks the user for what a login needs, and remembers within this run what it may give again."""

from typing import Protocol


class Person(Protocol):
    """Whoever can be asked; every answer is None where there is nobody."""

    def secret(self, prompt: str) -> str | None: ...

    def line(self, prompt: str) -> str | None: ...


class Asking:
    """A person and the secrets that the person gave, each under the very prompt that asked for it.

    A prompt names the account and the hop, so a secret is never given to another one.
    """

    def __init__(self, person: Person, remembered: dict[str, str] | None = None) -> None:
        self._person = person
        self.remembered: dict[str, str] = remembered or {}

    def line(self, prompt: str) -> str | None:
        """Ask for a line; None where there is nobody."""
        return self._person.line(prompt)

    def secret_once(self, prompt: str) -> str | None:
        """Ask for a secret that is good for one time only."""
        return self._person.secret(prompt)

    def secret(self, prompt: str) -> str | None:
        """The secret that answered this prompt before in this run, else ask for it."""
        if prompt not in self.remembered:
            answer = self._person.secret(prompt)
            if answer is None:
                return None
            self.remembered[prompt] = answer
        return self.remembered[prompt]

    def forget(self, prompt: str) -> None:
        """The secret was wrong: ask again next time."""
        self.remembered.pop(prompt, None)
