"""A prompter that answers from a list."""

from collections.abc import Iterable


class ScriptedPrompter:
    """Gives its answers in order; then None, as without a terminal."""

    is_interactive = True

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.prompts: list[str] = []
        self.hidden_prompts: list[str] = []
        """Those whose answer is not echoed."""
        self.banner_lines: list[str] = []
        """The lines that hosts sent before a login."""

    def ask(self, prompt: str) -> str | None:
        self.prompts.append(prompt)
        return self.answers.pop(0) if self.answers else None

    def ask_secret(self, prompt: str) -> str | None:
        self.hidden_prompts.append(prompt)
        return self.ask(prompt)

    def show_banner(self, lines: Iterable[str]) -> None:
        self.banner_lines += lines
