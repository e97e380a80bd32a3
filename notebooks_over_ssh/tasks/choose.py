"""Which session is meant, where several could be: the person at the terminal picks one."""

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.terminal import Person, step


def choose(settings: Settings, person: Person) -> Settings:
    """The settings, naming one session where several fit them. Raises BadSetting where nobody picks one."""
    found = sessions.candidates(settings)
    if len(found) < 2:
        return settings
    if person.is_there:
        for number, session in enumerate(found, 1):
            step(str(number), str(session))
        answer = person.line(f"which session? [1-{len(found)}]") or ""
        if answer in [str(number) for number, _ in enumerate(found, 1)]:
            return sessions.named(settings, found[int(answer) - 1])
    raise sessions.ambiguous(found)
