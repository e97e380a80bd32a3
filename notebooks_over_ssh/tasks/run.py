"""The context of one command, which its tasks pass down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from notebooks_over_ssh.config import settings as configuration
from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.ssh.prompting import CredentialPrompter, Secrets
from notebooks_over_ssh.tasks.site_acceptance import require_accepted
from notebooks_over_ssh.terminal import TerminalPrompter, is_interactive, print_step


@dataclass(frozen=True)
class Run:
    """The settings of one command, and how it prompts the user.

    Layers below the tasks do not know this class: each gets only the parts that it needs.
    """

    settings: Settings
    credentials: CredentialPrompter
    prompter: TerminalPrompter

    @classmethod
    def from_command_line(cls, c: Any, host: str | None, **flags: Any) -> Run:
        """Read the settings, with Invoke's context `c` and the command's flags.

        Raises ConfigError, also if they include those of a site that the user does not accept.
        """
        prompter = TerminalPrompter(is_interactive())
        credentials = CredentialPrompter(prompter, Secrets(prompted=configuration.prompted_secrets(c)))
        settings = configuration.load(c, host=host, **flags)
        if settings.site is not None:
            require_accepted(settings.site, prompter)
        return cls(settings, credentials, prompter)

    def for_all_hosts(self) -> Run:
        """A copy for hosts that the user has not named: it prompts for each password."""
        return replace(self, credentials=CredentialPrompter(self.prompter))

    def with_settings(self, settings: Settings) -> Run:
        """A copy with these settings."""
        return replace(self, settings=settings)

    def with_notebook(self, **changes: Any) -> Run:
        """A copy with these settings of the `notebook` section changed."""
        notebook = msgspec.structs.replace(self.settings.notebook, **changes)
        return self.with_settings(msgspec.structs.replace(self.settings, notebook=notebook))

    def choose_session(self) -> Run:
        """If several sessions match, prompt for one, and return a copy with settings that match only that one.

        Raises ConfigError if several match and the user picks none.
        """
        candidates = sessions.candidates(self.settings)
        if len(candidates) < 2:
            return self
        if self.prompter.is_interactive:
            for number, session in enumerate(candidates, 1):
                print_step(str(number), str(session))
            answer = self.prompter.ask(f"which session? [1-{len(candidates)}]") or ""
            if answer in [str(number) for number, _ in enumerate(candidates, 1)]:
                return self.with_settings(sessions.with_session(self.settings, candidates[int(answer) - 1]))
        raise sessions.ambiguous_error(candidates)
