"""Which session is meant, where several could be: the person at the terminal picks one."""

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.terminal import TerminalPrompter, print_step


def choose(settings: Settings, prompter: TerminalPrompter) -> Settings:
    """The settings, naming one session where several fit them. Raises ConfigError where nobody picks one."""
    candidates = sessions.candidates(settings)
    if len(candidates) < 2:
        return settings
    if prompter.is_interactive:
        for number, session in enumerate(candidates, 1):
            print_step(str(number), str(session))
        answer = prompter.ask(f"which session? [1-{len(candidates)}]") or ""
        if answer in [str(number) for number, _ in enumerate(candidates, 1)]:
            return sessions.with_session(settings, candidates[int(answer) - 1])
    raise sessions.ambiguous_error(candidates)
