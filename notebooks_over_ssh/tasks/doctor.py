"""doctor: every link of the chain from here to a working kernel, each failure with its one fix."""

from notebooks_over_ssh import debug_log
from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.diagnostics import examine
from notebooks_over_ssh.errors import Problem
from notebooks_over_ssh.ssh.prompting import Asking
from notebooks_over_ssh.terminal import more, say_json, step, working


def doctor(settings: Settings, asking: Asking) -> None:
    """Try every link and show it as it is tried. Raises the Problem of the first that is broken."""
    links = examine(settings, asking)
    while True:
        with working("doctor", "looking at the next link"):
            link = next(links, None)
        if link is None:
            step("doctor", "every link holds")
            return _show_debug_log()
        if link.problem is not None:
            step(link.name, "broken")
            if not debug_log.is_enabled():
                more(f"{debug_log.VARIABLE}=1 before a command writes a debug log to {debug_log.path()}")
            _show_debug_log()
            raise link.problem
        step(link.name, link.result)


def doctor_as_json(settings: Settings, asking: Asking) -> None:
    """Print a list of objects: `check`, `ok`, `result`, `problem`, `hint`. Raises the Problem of a broken link."""
    links = list(examine(settings, asking))
    shown = [
        {
            "check": link.name,
            "ok": link.problem is None,
            "result": link.result or None,
            "problem": str(link.problem) if link.problem else None,
            "hint": link.problem.hint if link.problem else None,
        }
        for link in links
    ]
    say_json(shown)
    broken: Problem | None = links[-1].problem
    if broken:
        raise broken


def _show_debug_log() -> None:
    if debug_log.is_enabled():
        more(f"the debug log is {debug_log.path()}")
